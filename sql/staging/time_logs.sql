-- One row per live version of a time log on a project in scope, from its from_day on or without a date (row_id), cells
-- read.
-- The bits and the first day that the cycle sets let DuckDB pass over other rows before it reads their cells; id and
-- from_day decide.
select
    time_logs.row_id,
    time_logs.source,
    time_logs.odd_cells,
    time_logs.digest,
    time_logs.contract_hash,
    time_logs.home_hash,
    time_logs.time_log_id,
    time_logs.project_id,
    time_logs.person,
    time_logs.role,
    time_logs.task,
    time_logs.worked_on,
    time_logs.seconds,
    time_logs.is_billable,
    time_logs.is_approved,
    time_logs.entered_at::date as entered_on
from source.time_logs
inner join temp.scope_project on coalesce(time_logs.project_id, '') = scope_project.project_id
where
    time_logs.ended_load_id is null
    and source.is_in_scope(time_logs.contract_hash)
    and source.is_from_first_day(time_logs.worked_on, getvariable('reads_all_days'))
    and coalesce(time_logs.worked_on >= scope_project.from_day, true)
