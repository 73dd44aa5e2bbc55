-- One time log lasts longer than a day.
select
    'time_logs' as dataset,
    row_id,
    concat(
        seconds // 3600, ':', lpad((seconds // 60 % 60)::varchar, 2, '0'), ':', lpad((seconds % 60)::varchar, 2, '0')
    ) as detail
from temp.log_row
where
    seconds > 86400
