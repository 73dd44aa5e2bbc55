-- One row per eligible time log (row_id): its seconds rounded, alone or with the rest of its day.
-- In a day unit each log gets what it adds to the rounded day; the last also gets what is left of it.
with

units as (

    select
        eligible.*,
        eligible.seconds as unit_seconds,
        eligible.seconds as unit_seconds_to_here,
        true as is_last,
        contract.rounding_seconds,
        contract.rounding_mode,
        contract.minimum_seconds
    from pricing.eligible
    inner join temp.contract using (contract_id)
    where contract.rounding_unit = 'entry'
    union all by name
    select
        eligible.*,
        (sum(eligible.seconds) over (
            partition by
                eligible.contract_id, eligible.project_id, eligible.person, eligible.task, eligible.worked_on
        ))::bigint as unit_seconds,
        (sum(eligible.seconds) over in_order)::bigint as unit_seconds_to_here,
        lead(eligible.row_id) over in_order is null as is_last,
        contract.rounding_seconds,
        contract.rounding_mode,
        contract.minimum_seconds
    from pricing.eligible
    inner join temp.contract using (contract_id)
    where contract.rounding_unit != 'entry'
    window
        in_order as (
            partition by
                eligible.contract_id, eligible.project_id, eligible.person, eligible.task, eligible.worked_on
            order by eligible.place
        )

),

rounded as (

    select
        *,
        greatest(
            case
                when rounding_seconds = 0 then unit_seconds
                when rounding_mode = 'down' then unit_seconds // rounding_seconds * rounding_seconds
                when rounding_mode = 'nearest'
                    then (2 * unit_seconds + rounding_seconds) // (2 * rounding_seconds) * rounding_seconds
                else (unit_seconds + rounding_seconds - 1) // rounding_seconds * rounding_seconds
            end,
            minimum_seconds
        ) as unit_rounded_seconds
    from units

)

select
    row_id,
    contract_id,
    time_log_id,
    project_id,
    person,
    task,
    worked_on,
    worked_month,
    place,
    seconds,
    hourly_rate_scaled,
    unit_seconds,
    unit_rounded_seconds,
    least(unit_seconds_to_here, unit_rounded_seconds)
    - least(unit_seconds_to_here - seconds, unit_rounded_seconds)
    + case when is_last then greatest(unit_rounded_seconds - unit_seconds, 0) else 0 end as rounded_seconds
from rounded
