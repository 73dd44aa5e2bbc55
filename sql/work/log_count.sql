-- One row per project in scope and week from its from_day on that has live time logs (project_id, week): where these
-- ended up. The id is empty for logs that name none, the week (see balance) NULL for those without a date.
-- logs_received counts the source table itself, not what the views made of it.
with

received as (

    select
        scope_project.home_hash,
        scope_project.project_id,
        time_logs.worked_on,
        count(*) as logs_received,
        coalesce(sum(time_logs.seconds), 0) as seconds_received
    from source.time_logs
    inner join temp.scope_project on coalesce(time_logs.project_id, '') = scope_project.project_id
    where
        time_logs.ended_load_id is null
        and source.is_in_scope(time_logs.contract_hash)
        and source.is_from_first_day(time_logs.worked_on, getvariable('reads_all_days'))
        and coalesce(time_logs.worked_on >= scope_project.from_day, true)
    group by scope_project.home_hash, scope_project.project_id, time_logs.worked_on

),

counted as (

    select
        log_row.home_hash,
        coalesce(log_row.project_id, '') as project_id,
        log.worked_on,
        count(*) filter (where log.status = 'eligible') as logs_eligible,
        count(*) filter (where log.status = 'quarantined') as logs_quarantined,
        count(*) filter (where log.status = 'excluded') as logs_excluded,
        count(*) filter (where log.status = 'out_of_term') as logs_out_of_term,
        coalesce(sum(log.seconds), 0) as seconds_counted
    from temp.log
    inner join temp.log_row using (row_id)
    group by log_row.home_hash, coalesce(log_row.project_id, ''), log.worked_on

),

parts as (

    from received
    union all by name
    from counted

)

select
    home_hash,
    project_id,
    worked_on - ((worked_on - date_trunc('month', worked_on)::date) % 7)::integer as week,
    coalesce(sum(logs_received), 0)::bigint as logs_received,
    coalesce(sum(logs_eligible), 0)::bigint as logs_eligible,
    coalesce(sum(logs_quarantined), 0)::bigint as logs_quarantined,
    coalesce(sum(logs_excluded), 0)::bigint as logs_excluded,
    coalesce(sum(logs_out_of_term), 0)::bigint as logs_out_of_term,
    coalesce(sum(seconds_received), 0) as seconds_received,
    coalesce(sum(seconds_counted), 0) as seconds_counted
from parts
group by home_hash, project_id, week
