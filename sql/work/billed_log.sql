-- One row per eligible time log in scope (row_id): what is owed for it and what live invoices billed for it.
select
    priced_log.row_id,
    priced_log.contract_id,
    priced_log.payable_seconds,
    priced_log.expected_minor,
    priced_log.over_cap_minor,
    priced_log.over_cap_seconds,
    coalesce(direct.billed_minor, pooled_log.billed_minor, 0) as billed_minor,
    case
        when direct.row_id is not null and direct.has_all_seconds then direct.billed_seconds
        when direct.row_id is not null then priced_log.payable_seconds
        else coalesce(pooled_log.billed_seconds, 0)
    end as billed_seconds,
    coalesce(direct.line_count, 0) as direct_line_count,
    coalesce(direct.positive_invoice_count, 0) as positive_invoice_count,
    case contract.grace_from
        when 'month_end' then last_day(priced_log.worked_on)
        else priced_log.worked_on
    end + contract.grace_days as due_on
from temp.priced_log
inner join temp.contract on priced_log.contract_id = contract.contract_id
left join temp.direct on priced_log.row_id = direct.row_id
left join temp.pooled_log on priced_log.row_id = pooled_log.row_id
