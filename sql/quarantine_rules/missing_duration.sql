-- A time log has no duration; one that cannot be read is unparseable, not missing.
select
    'time_logs' as dataset,
    row_id,
    null::varchar as detail
from temp.log_row
where
    seconds is null
    and (
        odd_cells is null
        or coalesce(
            json_extract_string(odd_cells, 'seconds'),
            json_extract_string(odd_cells, 'minutes'),
            json_extract_string(odd_cells, 'hours'),
            json_extract_string(odd_cells, 'duration')
        ) is null
    )
