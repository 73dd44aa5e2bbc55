-- A time log names no person.
select
    'time_logs' as dataset,
    row_id,
    null::varchar as detail
from temp.log_row
where
    person is null
