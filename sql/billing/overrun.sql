-- One row per billable, approved time log of a fixed-price contract with a cap (row_id): its seconds beyond the cap.
with

counted as (

    select
        log.row_id,
        log.contract_id,
        log.hourly_rate_scaled,
        log.seconds,
        contract.cap_seconds,
        sum(log.seconds) over (
            partition by
                log.contract_id,
                case contract.cap_period when 'month' then year(log.worked_on) * 12 + month(log.worked_on) else 0 end
            order by log.worked_on, log_row.time_log_id
        ) + case
            when contract.cap_period != 'month' then opening.fixed_seconds
            when year(log.worked_on) * 12 + month(log.worked_on) = opening.worked_month then opening.month_fixed_seconds
            else 0
        end as seconds_to_here
    from temp.log
    inner join temp.contract using (contract_id)
    inner join temp.opening using (contract_id)
    inner join temp.log_row using (row_id)
    where
        log.excluded_as = 'fixed_price'
        and contract.cap_seconds is not null

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
