-- One row per billable, approved time log of a fixed-price contract with a cap (row_id): its seconds beyond the cap.
with

logs as (

    select
        log.row_id,
        log.contract_id,
        log.worked_on,
        log.hourly_rate_scaled,
        log.seconds,
        log_row.time_log_id,
        datediff('month', date '1970-01-01', log.worked_on) as worked_month
    from temp.log
    inner join temp.log_row using (row_id)
    where log.excluded_as = 'fixed_price'

),

counted as (

    select
        logs.row_id,
        logs.contract_id,
        logs.hourly_rate_scaled,
        logs.seconds,
        contract.cap_seconds,
        sum(logs.seconds) over (
            partition by logs.contract_id, case contract.cap_period when 'month' then logs.worked_month else 0 end
            order by logs.worked_on, logs.time_log_id
        ) + case
            when contract.cap_period != 'month' then opening.fixed_seconds
            when logs.worked_month = opening.worked_month then opening.month_fixed_seconds
            else 0
        end as seconds_to_here
    from logs
    inner join temp.contract using (contract_id)
    inner join temp.opening using (contract_id)
    where contract.cap_seconds is not null

)

select
    row_id,
    contract_id,
    hourly_rate_scaled,
    (
        seconds
        - (least(seconds_to_here, cap_seconds) - least(seconds_to_here - seconds, cap_seconds))
    )::bigint as overrun_seconds
from counted
