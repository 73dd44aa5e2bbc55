-- One row per project in scope and month from its from_day on that has live time logs (project_id, month): where these
-- ended up. The id is empty for logs that name none, the month NULL for those without a date.
-- logs_received counts the source table itself, not what the views made of it.
with

received as (

    select
        scope_project.project_id,
        date_trunc('month', time_logs.worked_on)::date as month,
        count(*) as logs_received,
        coalesce(sum(time_logs.seconds), 0) as seconds_received
    from source.time_logs
    inner join temp.scope_project on coalesce(time_logs.project_id, '') = scope_project.project_id
    where
        time_logs.ended_load_id is null
        and coalesce(get_bit(getvariable('project_homes')::bit, time_logs.home_hash & 16383) = 1, true)
        and coalesce(time_logs.worked_on >= scope_project.from_day, true)
    group by scope_project.project_id, date_trunc('month', time_logs.worked_on)

),

counted as (

    select
        coalesce(log_row.project_id, '') as project_id,
        date_trunc('month', log.worked_on)::date as month,
        count(*) filter (where log.status = 'eligible') as logs_eligible,
        count(*) filter (where log.status = 'quarantined') as logs_quarantined,
        count(*) filter (where log.status = 'excluded') as logs_excluded,
        count(*) filter (where log.status = 'out_of_term') as logs_out_of_term,
        coalesce(sum(log.seconds), 0) as seconds_counted
    from temp.log
    inner join temp.log_row using (row_id)
    group by coalesce(log_row.project_id, ''), date_trunc('month', log.worked_on)

)

select
    coalesce(received.project_id, counted.project_id) as project_id,
    coalesce(received.month, counted.month) as month,
    coalesce(received.logs_received, 0) as logs_received,
    coalesce(counted.logs_eligible, 0) as logs_eligible,
    coalesce(counted.logs_quarantined, 0) as logs_quarantined,
    coalesce(counted.logs_excluded, 0) as logs_excluded,
    coalesce(counted.logs_out_of_term, 0) as logs_out_of_term,
    coalesce(received.seconds_received, 0) as seconds_received,
    coalesce(counted.seconds_counted, 0) as seconds_counted
from received
full join counted
    on received.project_id = counted.project_id and received.month is not distinct from counted.month
