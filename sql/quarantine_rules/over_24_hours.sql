-- One time log lasts longer than a day.
select
    'time_logs' as dataset,
    row_id,
    seconds || ' s' as detail
from temp.log_row
where
    seconds > 86400
