-- One row per eligible time log (row_id): what is owed for it within the contract's money cap.
with

logs as (

    select *
    from pricing.amount

),

counted as (

    select
        *,
        sum(amount_minor) over (
            partition by contract_id, case cap_period when 'month' then worked_month else 0 end
            order by place
        ) as amount_minor_to_here
    from logs
    where cap_minor is not null
    union all by name
    select *
    from logs
    where cap_minor is null

)

select
    *,
    case
        when cap_minor is null then amount_minor
        else least(amount_minor_to_here, cap_minor) - least(amount_minor_to_here - amount_minor, cap_minor)
    end::bigint as expected_minor,
    over_cap_seconds_minor + amount_minor - expected_minor as over_cap_minor
from counted
