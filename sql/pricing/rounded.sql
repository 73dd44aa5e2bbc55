-- One row per eligible time log (row_id): its seconds rounded, alone or with the rest of its day.
-- In a day unit each log gets what it adds to the rounded day; the last also gets what is left of it.
with

-- DuckDB computes a CTE that two branches read once, a view twice.
logs as (

    select
        eligible.*,
        contract.rounding_seconds,
        contract.rounding_mode,
        contract.rounding_unit,
        contract.minimum_seconds
    from pricing.eligible
    inner join temp.contract using (contract_id)

),

days as (

    select
        logs.*,
        log_row.project_id,
        log_row.person,
        log_row.task
    from logs
    inner join temp.log_row using (row_id)
    where logs.rounding_unit != 'entry'

),

units as (

    select
        *,
        seconds as unit_seconds,
        seconds as unit_seconds_to_here,
        true as is_last
    from logs
    where rounding_unit = 'entry'
    union all by name
    select
        *,
        (sum(seconds) over (partition by contract_id, project_id, person, task, worked_on))::bigint as unit_seconds,
        (sum(seconds) over in_order)::bigint as unit_seconds_to_here,
        lead(row_id) over in_order is null as is_last
    from days
    window in_order as (partition by contract_id, project_id, person, task, worked_on order by place)

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
