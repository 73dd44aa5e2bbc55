-- A time log has no date; one that cannot be read is unparseable, not missing.
select
    'time_logs' as dataset,
    row_id,
    null::varchar as detail
from temp.log_row
where
    worked_on is null
    and (odd_cells is null or json_extract_string(odd_cells, 'worked_on') is null)
