-- One row per contract and time log id that its matched lines name (contract_id, time_log_id).
-- row_id is the eligible log of that contract, NULL where there is none: such lines bill nothing.
with

by_invoice as (

    select
        contract_id,
        time_log_id,
        invoice_id,
        sum(amount_minor) as amount_minor,
        sum(seconds) as seconds,
        count(*) as line_count,
        count(seconds) as timed_line_count
    from temp.line
    where is_matched and time_log_id is not null
    group by contract_id, time_log_id, invoice_id

),

by_log as (

    select
        contract_id,
        time_log_id,
        sum(amount_minor)::bigint as billed_minor,
        sum(seconds)::bigint as billed_seconds,
        sum(line_count)::bigint as line_count,
        sum(line_count) = sum(timed_line_count) as has_all_seconds,
        count(*) filter (where amount_minor > 0) as positive_invoice_count,
        string_agg(invoice_id, ', ' order by invoice_id) as invoice_ids
    from by_invoice
    group by contract_id, time_log_id

)

select
    by_log.*,
    priced_log.row_id
from by_log
left join temp.priced_log using (contract_id, time_log_id)
