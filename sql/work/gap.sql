-- One row per eligible time log in scope whose billing differs from what is owed (row_id), and in which way (gap):
-- rounding, not_due, nothing_billed, billed_short or billed_over. gap_minor is owed less billed.
select
    *,
    expected_minor - billed_minor as gap_minor,
    case
        when abs(expected_minor - billed_minor) <= greatest(direct_line_count, 1) and billed_minor != 0 then 'rounding'
        when expected_minor < billed_minor then 'billed_over'
        when (select as_of from temp.cycle) < due_on then 'not_due'
        when billed_seconds = 0 and billed_minor = 0 then 'nothing_billed'
        else 'billed_short'
    end as gap
from temp.billed_log
where expected_minor != billed_minor
