-- One row per eligible time log (row_id): its rounded seconds as regular ones and overtime, per person and day.
with

logs as (

    select
        rounded.*,
        contract.overtime_after_seconds
    from pricing.rounded
    inner join temp.contract using (contract_id)

),

counted as (

    select
        logs.*,
        (sum(logs.rounded_seconds) over (
            partition by logs.contract_id, log_row.person, logs.worked_on
            order by logs.place
        ))::bigint as day_seconds_to_here
    from logs
    inner join temp.log_row using (row_id)
    where logs.overtime_after_seconds is not null
    union all by name
    select *
    from logs
    where overtime_after_seconds is null

)

select
    * exclude (overtime_after_seconds),
    case
        when overtime_after_seconds is null then rounded_seconds
        else
            least(day_seconds_to_here, overtime_after_seconds)
            - least(day_seconds_to_here - rounded_seconds, overtime_after_seconds)
    end as regular_seconds,
    rounded_seconds - regular_seconds as overtime_seconds
from counted
