-- One row per contract and time log id that its matched lines name (contract_id, time_log_id).
-- row_id is the eligible log of that contract, NULL where there is none: such lines bill nothing.
with

by_log as (

    select
        contract_id,
        time_log_id,
        sum(amount_minor)::bigint as billed_minor,
        sum(seconds)::bigint as billed_seconds,
        count(*) as line_count,
        count(*) = count(seconds) as has_all_seconds,
        min(invoice_id) = max(invoice_id) as has_one_invoice
    from temp.line
    where is_matched and time_log_id is not null
    group by contract_id, time_log_id

),

priced as (

    select
        priced_log.row_id,
        priced_log.contract_id,
        log_row.time_log_id
    from temp.priced_log
    inner join temp.log_row using (row_id)

),

-- Few logs stand on several invoices; only theirs are added up invoice by invoice.
by_invoice as (

    select
        line.contract_id,
        line.time_log_id,
        line.invoice_id,
        sum(line.amount_minor) as amount_minor
    from temp.line
    inner join by_log using (contract_id, time_log_id)
    where line.is_matched and not by_log.has_one_invoice
    group by line.contract_id, line.time_log_id, line.invoice_id

),

by_several_invoices as (

    select
        contract_id,
        time_log_id,
        count(*) filter (where amount_minor > 0) as positive_invoice_count
    from by_invoice
    group by contract_id, time_log_id

)

select
    by_log.contract_id,
    by_log.time_log_id,
    by_log.billed_minor,
    by_log.billed_seconds,
    by_log.line_count,
    by_log.has_all_seconds,
    coalesce(
        by_several_invoices.positive_invoice_count,
        case when by_log.billed_minor > 0 then 1 else 0 end
    ) as positive_invoice_count,
    priced.row_id
from by_log
left join by_several_invoices using (contract_id, time_log_id)
left join priced using (contract_id, time_log_id)
