-- One row per finding in scope (finding_id), as audit.finding_open stores it. Amounts in the finding's currency.
-- A leakage finding a person accepted stays written off while its amount is not above the accepted one.
with

-- A finding is identified by contract, class and what it is about.
found as (

    select
        *,
        left(md5(contract_id || chr(31) || rule_name || chr(31) || about), 16) as finding_id
    from finding_rules.all_rules

),

accepted as (

    select
        finding_id,
        arg_max(coalesce(accepted_amount, -1), write_off_id) as accepted_amount
    from audit.write_off
    group by finding_id

),

-- Which invoices billed a log: those its direct lines stand on, or those of its pool.
direct_invoices as (

    select
        line.contract_id,
        line.time_log_id,
        array_to_string(list_sort(list_distinct(list(line.invoice_id))), ', ') as invoice_ids
    from temp.line
    where
        line.is_matched
        and (line.contract_id, 'log:' || line.time_log_id) in (select (contract_id, about) from found)
    group by line.contract_id, line.time_log_id

),

amounts as (

    select
        found.*,
        contract.client,
        coalesce(found.foreign_currency, contract.currency) as currency,
        coalesce(found.foreign_amount, (found.amount_minor * contract.minor_unit)::decimal(18, 4)) as amount,
        (found.expected_minor * contract.minor_unit)::decimal(18, 4) as expected_amount,
        coalesce(found.foreign_amount, (found.billed_minor * contract.minor_unit)::decimal(18, 4)) as billed_amount
    from found
    inner join temp.contract using (contract_id)

)

select
    amounts.finding_id,
    scope_contract.home_hash,
    amounts.contract_id,
    amounts.client,
    amounts.currency,
    case
        when amounts.side = 'leakage' and amounts.amount <= accepted.accepted_amount then 'written_off'
        else amounts.side
    end as side,
    amounts.rule_name as class,
    amounts.about,
    log_row.project_id,
    log_row.person,
    log_row.role,
    log_row.task,
    log_row.worked_on,
    amounts.seconds,
    (log.hourly_rate_scaled * 0.0001)::decimal(18, 4) as hourly_rate,
    amounts.expected_amount,
    amounts.billed_amount,
    amounts.amount,
    coalesce(
        amounts.invoice_ids,
        -- What is estimated, for a log that is not eligible, no invoice billed.
        case when amounts.expected_amount is not null then coalesce(direct_invoices.invoice_ids, pool.invoice_ids) end
    ) as invoice_ids,
    amounts.due_on
from amounts
inner join temp.scope_contract on amounts.contract_id = scope_contract.contract_id
left join temp.log using (row_id)
left join temp.log_row on amounts.row_id = log_row.row_id
left join direct_invoices
    on amounts.contract_id = direct_invoices.contract_id and amounts.about = 'log:' || direct_invoices.time_log_id
left join temp.pooled_log on amounts.row_id = pooled_log.row_id and pooled_log.billed_seconds > 0
left join temp.pool on pooled_log.contract_id = pool.contract_id and pooled_log.place = pool.place
left join accepted on amounts.finding_id = accepted.finding_id
