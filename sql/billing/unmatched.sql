-- One row per sum billed for no eligible log (contract_id, about): direct lines by log id, and what a pool has left.
-- Where a run looks at a contract's later weeks only, the direct lines without an eligible log are those they were.
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
    direct.contract_id,
    'log:' || direct.time_log_id as about,
    direct.billed_minor as amount_minor,
    direct.billed_seconds as seconds,
    null::varchar as invoice_ids
from temp.direct
inner join temp.scope_contract using (contract_id)
where direct.row_id is null and direct.billed_minor != 0 and scope_contract.from_day = '-infinity'
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
