-- One row per eligible time log (row_id): what is owed for it within the contract's money cap.
with

logs as (

    select *
    from pricing.amount

),

counted as (

    select
        logs.*,
        sum(logs.amount_minor) over (
            partition by logs.contract_id, case logs.cap_period when 'month' then logs.worked_month else 0 end
            order by logs.place
        ) + case
            when logs.cap_period != 'month' then opening.amount_minor
            when logs.worked_month = opening.worked_month then opening.month_amount_minor
            else 0
        end as amount_minor_to_here
    from logs
    inner join temp.opening using (contract_id)
    where logs.cap_minor is not null
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
