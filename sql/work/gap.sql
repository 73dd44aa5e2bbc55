-- One row per eligible time log in scope whose billing differs from what is owed (row_id), and in which way (gap):
-- rounding, not_due, nothing_billed, billed_short or billed_over. gap_minor is owed less billed.
select
    billed_log.*,
    log_row.time_log_id,
    log_row.project_id,
    log_row.person,
    log_row.role,
    log_row.task,
    log_row.worked_on,
    log_row.entered_on,
    expected_minor - billed_minor as gap_minor,
    case
        when abs(expected_minor - billed_minor) <= greatest(direct_line_count, 1) and billed_minor != 0 then 'rounding'
        when expected_minor < billed_minor then 'billed_over'
        when (select as_of from temp.cycle) < due_on then 'not_due'
        when billed_seconds = 0 and billed_minor = 0 then 'nothing_billed'
        else 'billed_short'
    end as gap
from temp.billed_log
inner join temp.log_row using (row_id)
where expected_minor != billed_minor
