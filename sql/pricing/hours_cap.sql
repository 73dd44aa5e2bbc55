-- One row per eligible time log (row_id): what of it lies within the contract's hours cap, regular seconds first.
with

logs as (

    select
        prepaid.*,
        contract.cap_seconds as cap_limit_seconds,
        contract.cap_period
    from pricing.prepaid
    inner join temp.contract using (contract_id)

),

counted as (

    select
        logs.*,
        (sum(logs.unpaid_regular_seconds + logs.unpaid_overtime_seconds) over (
            partition by logs.contract_id, case logs.cap_period when 'month' then logs.worked_month else 0 end
            order by logs.place
        ) + case
            when logs.cap_period != 'month' then opening.unpaid_seconds
            when logs.worked_month = opening.worked_month then opening.month_unpaid_seconds
            else 0
        end)::bigint as cap_seconds_to_here
    from logs
    inner join temp.opening using (contract_id)
    where logs.cap_limit_seconds is not null
    union all by name
    select *
    from logs
    where cap_limit_seconds is null

),

capped as (

    select
        * exclude (cap_limit_seconds),
        case
            when cap_limit_seconds is null then unpaid_regular_seconds + unpaid_overtime_seconds
            else
                least(cap_seconds_to_here, cap_limit_seconds)
                - least(cap_seconds_to_here - unpaid_regular_seconds - unpaid_overtime_seconds, cap_limit_seconds)
        end as payable_seconds
    from counted

)

select
    *,
    least(unpaid_regular_seconds, payable_seconds) as payable_regular_seconds,
    payable_seconds - least(unpaid_regular_seconds, payable_seconds) as payable_overtime_seconds
from capped
