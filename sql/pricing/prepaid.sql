-- One row per eligible time log (row_id): what of it the contract's prepaid time has already paid, regular seconds first.
with

counted as (

    select
        overtime.*,
        contract.prepaid_seconds as prepaid_limit_seconds,
        (sum(overtime.rounded_seconds) over (
            partition by
                overtime.contract_id,
                case contract.prepaid_period when 'month' then overtime.worked_month else 0 end
            order by overtime.place
        ))::bigint as prepaid_seconds_to_here
    from pricing.overtime
    inner join temp.contract using (contract_id)
    where contract.prepaid_seconds > 0
    union all by name
    select overtime.*
    from pricing.overtime
    inner join temp.contract using (contract_id)
    where contract.prepaid_seconds <= 0

),

used as (

    select
        * exclude (prepaid_limit_seconds),
        case
            when prepaid_limit_seconds is null then 0
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
