-- One row per live version of a time log on a project in scope (row_id), cells read.
-- The bits the cycle sets let DuckDB pass over the rows of all others before it reads their cells; the id decides.
select
    row_id,
    source,
    odd_cells,
    digest,
    home_hash,
    time_log_id,
    project_id,
    person,
    role,
    task,
    worked_on,
    seconds,
    is_billable,
    is_approved,
    entered_at::date as entered_on
from source.time_logs
where
    ended_load_id is null
    and coalesce(get_bit(getvariable('project_homes')::bit, home_hash & 16383) = 1, true)
    and coalesce(project_id, '') in (select project_id from temp.scope_project)
