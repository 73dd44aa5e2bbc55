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
        *,
        (sum(rounded_seconds) over (
            partition by contract_id, case prepaid_period when 'month' then worked_month else 0 end
            order by place
        ))::bigint as prepaid_seconds_to_here
    from logs
    where prepaid_limit_seconds > 0
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
