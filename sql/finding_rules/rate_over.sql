-- Billed at more than the contract says.
select
    'overbilled' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.billed_seconds as seconds,
    -gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
where gap.gap = 'billed_over' and gap.positive_invoice_count < 2 and gap.billed_seconds <= gap.payable_seconds
