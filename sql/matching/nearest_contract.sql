-- One row per trustworthy time log in scope without a contract in force (row_id): the contract of its project that is
-- nearest in time, and the day of that contract nearest to the log.
with

candidates as (

    select
        log_row.row_id,
        log_row.worked_on,
        contract_version.contract_id,
        contract_version.starts_on,
        contract_version.ends_on,
        contract_version.ends_on < contract_version.starts_on as is_inverted,
        case when log_row.worked_on > contract_version.ends_on then log_row.worked_on - contract_version.ends_on end
            as days_after,
        case when log_row.worked_on < contract_version.starts_on then contract_version.starts_on - log_row.worked_on end
            as days_before
    from temp.log_row
    inner join temp.project using (project_id)
    inner join temp.contract_version using (contract_id)
    anti join (select row_id from temp.row_reason where dataset = 'time_logs') using (row_id)
    anti join temp.in_force using (row_id)

),

ranked as (

    select
        *,
        row_number() over (
            partition by row_id
            order by
                is_inverted,
                -- A log may lie both after the end and before the start of an inverted contract: the nearer counts.
                least(days_after, days_before),
                coalesce(days_after <= coalesce(days_before, days_after), false) desc,
                contract_id desc
        ) as place
    from candidates

)

select
    row_id,
    contract_id,
    case when days_after <= coalesce(days_before, days_after) then ends_on else starts_on end as rate_on
from ranked
where place = 1
