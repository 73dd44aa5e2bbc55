-- A time log names a project that is not among the projects, or only in quarantine.
select
    'time_logs' as dataset,
    row_id,
    project_id as detail
from temp.log_row
where
    project_id is not null
    and project_id not in (
        select project_row.project_id
        from temp.project_row
        anti join (select row_id from temp.own_reason where dataset = 'projects') as set_aside using (row_id)
    )
