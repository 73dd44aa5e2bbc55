-- One row per sum billed for no eligible log (contract_id, about): direct lines by log id, and what a pool has left.
with

pooled as (

    select
        contract_id,
        place,
        sum(billed_minor) as billed_minor
    from temp.pooled_log
    group by contract_id, place

)

select
    contract_id,
    'log:' || time_log_id as about,
    billed_minor as amount_minor,
    billed_seconds as seconds,
    null::varchar as invoice_ids
from temp.direct
where row_id is null and billed_minor != 0
union all by name
select
    pool.contract_id,
    pool.about,
    (pool.amount_minor - coalesce(pooled.billed_minor, 0))::bigint as amount_minor,
    pool.seconds,
    pool.invoice_ids
from temp.pool
left join pooled using (contract_id, place)
where pool.amount_minor != coalesce(pooled.billed_minor, 0)
