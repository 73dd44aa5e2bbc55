-- Owed and billed differ by no more than the rounding of the lines that billed it.
select
    'noise' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds as seconds,
    gap.gap_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
where gap.gap = 'rounding'
