-- One row per eligible time log (row_id): what of it the contract's prepaid time has already paid, regular seconds
-- first.
with

logs as (

    select
        overtime.*,
        contract.prepaid_seconds as prepaid_limit_seconds,
        contract.prepaid_period
    from pricing.overtime
    inner join temp.contract using (contract_id)

),

counted as (

    select
        logs.*,
        (sum(logs.rounded_seconds) over (
            partition by logs.contract_id, case logs.prepaid_period when 'month' then logs.worked_month else 0 end
            order by logs.place
        ) + case
            when logs.prepaid_period != 'month' then opening.rounded_seconds
            when logs.worked_month = opening.worked_month then opening.month_rounded_seconds
            else 0
        end)::bigint
            as prepaid_seconds_to_here
    from logs
    inner join temp.opening using (contract_id)
    where logs.prepaid_limit_seconds > 0
    union all by name
    select *
    from logs
    where prepaid_limit_seconds <= 0

),

used as (

    select
        * exclude (prepaid_limit_seconds, prepaid_period),
        case
            when prepaid_limit_seconds <= 0 then 0
            else
                least(prepaid_seconds_to_here, prepaid_limit_seconds)
                - least(prepaid_seconds_to_here - rounded_seconds, prepaid_limit_seconds)
        end as prepaid_seconds
    from counted

)

select
    *,
    regular_seconds - least(regular_seconds, prepaid_seconds) as unpaid_regular_seconds,
    overtime_seconds - (prepaid_seconds - least(regular_seconds, prepaid_seconds)) as unpaid_overtime_seconds
from used
