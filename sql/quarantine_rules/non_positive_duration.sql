-- A time log lasts nothing, or less.
select
    'time_logs' as dataset,
    row_id,
    seconds || ' s' as detail
from temp.log_row
where
    seconds <= 0
