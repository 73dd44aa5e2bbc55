-- A time log is dated after the day the run is for.
select
    'time_logs' as dataset,
    row_id,
    worked_on::varchar as detail
from temp.log_row
where
    worked_on > (select as_of from temp.cycle)
