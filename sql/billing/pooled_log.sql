-- One row per eligible time log that a pool bills (row_id): the share of the pool's seconds and amount it gets.
-- In order, logs use the pool's seconds; each gets the rounded amount up to itself less what came before.
with

chosen as (

    select
        priced_log.row_id,
        priced_log.contract_id,
        any_value(priced_log.place) as log_place,
        any_value(priced_log.payable_seconds) as payable_seconds,
        min(pool.place) as place
    from temp.priced_log
    inner join temp.log using (row_id)
    inner join temp.pool
        on
            priced_log.contract_id = pool.contract_id
            and (pool.period_start is null or priced_log.worked_on >= pool.period_start)
            and (pool.period_end is null or priced_log.worked_on <= pool.period_end)
            and (pool.project_id is null or priced_log.project_id = pool.project_id)
            and (pool.person is null or priced_log.person = pool.person)
            and (pool.task is null or priced_log.task = pool.task)
            and (pool.role is null or log.role = pool.role)
    anti join temp.direct on priced_log.row_id = direct.row_id
    where
        priced_log.payable_seconds > 0
        and pool.place is not null
    group by priced_log.row_id, priced_log.contract_id

),

counted as (

    select
        chosen.row_id,
        chosen.contract_id,
        chosen.place,
        chosen.payable_seconds,
        pool.amount_minor,
        pool.seconds,
        pool.invoice_ids,
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
        invoice_ids,
        least(seconds_to_here, seconds)::hugeint as used_to_here,
        least(seconds_to_here - payable_seconds, seconds)::hugeint as used_before
    from counted

)

select
    row_id,
    contract_id,
    place,
    invoice_ids,
    (used_to_here - used_before)::bigint as billed_seconds,
    (
        sign(amount_minor) * ((2 * abs(amount_minor)::hugeint * used_to_here + seconds) // (2 * seconds))
        - sign(amount_minor) * ((2 * abs(amount_minor)::hugeint * used_before + seconds) // (2 * seconds))
    )::bigint as billed_minor
from used
