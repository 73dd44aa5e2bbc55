-- A time log names no project.
select
    'time_logs' as dataset,
    row_id,
    null::varchar as detail
from temp.log_row
where
    project_id is null
