-- One row per eligible time log that a pool bills (row_id): the share of the pool's seconds and amount it gets.
-- In order, logs use the pool's seconds; each gets the rounded amount up to itself less what came before.
with

-- A pool of up to a year meets only the logs of its months: most pools are monthly, and a contract has many.
pool_months as (

    select
        *,
        unnest(
            range(
                datediff('month', date '1970-01-01', period_start),
                datediff('month', date '1970-01-01', period_end) + 1
            )
        ) as worked_month
    from temp.pool
    where place is not null and period_end - period_start <= 366

),

unbilled as (

    select
        priced_log.row_id,
        priced_log.contract_id,
        priced_log.place as log_place,
        priced_log.worked_on,
        priced_log.worked_month,
        log_row.project_id,
        log_row.person,
        log_row.role,
        log_row.task,
        priced_log.payable_seconds
    from temp.priced_log
    inner join temp.log_row using (row_id)
    anti join temp.direct on priced_log.row_id = direct.row_id
    where priced_log.payable_seconds > 0

),

matches as (

    select
        unbilled.row_id,
        unbilled.contract_id,
        unbilled.log_place,
        unbilled.payable_seconds,
        pool.place
    from unbilled
    inner join pool_months as pool
        on
            unbilled.contract_id = pool.contract_id
            and unbilled.worked_month = pool.worked_month
            and unbilled.worked_on between pool.period_start and pool.period_end
            and (pool.project_id is null or unbilled.project_id = pool.project_id)
            and (pool.person is null or unbilled.person = pool.person)
            and (pool.task is null or unbilled.task = pool.task)
            and (pool.role is null or unbilled.role = pool.role)
    union all by name
    select
        unbilled.row_id,
        unbilled.contract_id,
        unbilled.log_place,
        unbilled.payable_seconds,
        pool.place
    from unbilled
    inner join temp.pool
        on
            unbilled.contract_id = pool.contract_id
            and (pool.period_start is null or unbilled.worked_on >= pool.period_start)
            and (pool.period_end is null or unbilled.worked_on <= pool.period_end)
            and (pool.project_id is null or unbilled.project_id = pool.project_id)
            and (pool.person is null or unbilled.person = pool.person)
            and (pool.task is null or unbilled.task = pool.task)
            and (pool.role is null or unbilled.role = pool.role)
    where
        pool.place is not null
        and coalesce(pool.period_end - pool.period_start > 366, true)

),

chosen as (

    select
        row_id,
        any_value(contract_id) as contract_id,
        any_value(log_place) as log_place,
        any_value(payable_seconds) as payable_seconds,
        min(place) as place
    from matches
    group by row_id

),

counted as (

    select
        chosen.row_id,
        chosen.contract_id,
        chosen.place,
        chosen.payable_seconds,
        pool.amount_minor,
        pool.seconds,
        sum(chosen.payable_seconds) over (
            partition by chosen.contract_id, chosen.place
            order by chosen.log_place
        ) as seconds_to_here
    from chosen
    inner join temp.pool using (contract_id, place)

),

used as (

    select
        row_id,
        contract_id,
        place,
        amount_minor,
        seconds,
        least(seconds_to_here, seconds)::bigint as used_to_here,
        least(seconds_to_here - payable_seconds, seconds)::bigint as used_before,
        -- DuckDB divides numbers of up to 18 digits fifty times faster than longer ones.
        abs(amount_minor)::hugeint * seconds < 4000000000000000000 as is_short
    from counted

)

select
    row_id,
    contract_id,
    place,
    (used_to_here - used_before)::bigint as billed_seconds,
    sign(amount_minor) * case
        when is_short
            then
                (2 * abs(amount_minor) * used_to_here + seconds) // (2 * seconds)
                - (2 * abs(amount_minor) * used_before + seconds) // (2 * seconds)
        else
            (
                (2 * abs(amount_minor)::hugeint * used_to_here + seconds) // (2 * seconds)
                - (2 * abs(amount_minor)::hugeint * used_before + seconds) // (2 * seconds)
            )::bigint
    end as billed_minor
from used
