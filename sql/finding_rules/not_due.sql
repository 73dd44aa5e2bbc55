-- Owed and not fully billed, but the contract gives the invoice more time.
select
    'pending' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds as seconds,
    gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    gap.due_on
from temp.gap
where gap.gap = 'not_due'
