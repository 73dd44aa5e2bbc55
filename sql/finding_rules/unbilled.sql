-- Owed, and never billed.
select
    'leakage' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds as seconds,
    gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    unbilled_log.invoice_ids,
    null::date as due_on
from temp.gap
inner join temp.unbilled_log using (row_id)
where unbilled_log.cause = 'unbilled'
