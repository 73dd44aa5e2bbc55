-- One row per project id in scope that has live time logs (project_id, empty for none): where its logs ended up.
-- logs_received counts the source table itself, not what the views made of it.
with

received as (

    select
        coalesce(project_id, '') as project_id,
        count(*) as logs_received,
        coalesce(sum(seconds), 0) as seconds_received
    from source.time_logs
    where
        ended_load_id is null
        and coalesce(get_bit(getvariable('project_homes')::bit, home_hash & 16383) = 1, true)
        and coalesce(project_id, '') in (select project_id from temp.scope_project)
    group by coalesce(project_id, '')

),

counted as (

    select
        coalesce(log_row.project_id, '') as project_id,
        count(*) filter (where log.status = 'eligible') as logs_eligible,
        count(*) filter (where log.status = 'quarantined') as logs_quarantined,
        count(*) filter (where log.status = 'excluded') as logs_excluded,
        count(*) filter (where log.status = 'out_of_term') as logs_out_of_term,
        coalesce(sum(log.seconds), 0) as seconds_counted
    from temp.log
    inner join temp.log_row using (row_id)
    group by coalesce(log_row.project_id, '')

)

select
    coalesce(received.project_id, counted.project_id) as project_id,
    coalesce(received.logs_received, 0) as logs_received,
    coalesce(counted.logs_eligible, 0) as logs_eligible,
    coalesce(counted.logs_quarantined, 0) as logs_quarantined,
    coalesce(counted.logs_excluded, 0) as logs_excluded,
    coalesce(counted.logs_out_of_term, 0) as logs_out_of_term,
    coalesce(received.seconds_received, 0) as seconds_received,
    coalesce(counted.seconds_counted, 0) as seconds_counted
from received
full join counted on received.project_id = counted.project_id
