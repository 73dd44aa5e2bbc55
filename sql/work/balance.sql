-- One row per contract in scope and week from its from_day on (contract_id, week): what its time logs of that week add
-- up to. A week starts on the 1st, 8th, 15th, 22nd or 29th and lies in one month; it is NULL for logs without a date.
-- A run that looks at later weeks only starts from these.
with

priced as (

    select
        priced_log.contract_id,
        priced_log.worked_on,
        sum(priced_log.rounded_seconds) as rounded_seconds,
        sum(priced_log.payable_seconds + priced_log.over_cap_seconds) as unpaid_seconds,
        sum(priced_log.amount_minor) as amount_minor,
        sum(billed_log.expected_minor) as expected_minor,
        sum(billed_log.billed_minor) as billed_minor
    from temp.priced_log
    inner join temp.billed_log using (row_id)
    group by priced_log.contract_id, priced_log.worked_on

),

parts as (

    from priced
    union all by name
    select
        contract_id,
        worked_on,
        sum(seconds) as fixed_seconds
    from temp.log
    where excluded_as = 'fixed_price'
    group by contract_id, worked_on
    union all by name
    select
        contract_id,
        worked_on,
        sum(payable_seconds - billed_seconds) as unbilled_seconds
    from temp.gap
    where
        billed_seconds < payable_seconds
        and (contract_id, 'log:' || time_log_id) in (
            select (contract_id, about)
            from temp.finding
            where side = 'leakage'
        )
    group by contract_id, worked_on
    union all by name
    -- A row somebody waived is at risk no longer.
    select
        contract_id,
        worked_on,
        sum(seconds) as quarantined_seconds
    from temp.quarantined
    where entity = 'time_logs' and state = 'open' and seconds > 0 and contract_id is not null
    group by contract_id, worked_on

)

select
    scope_contract.home_hash,
    parts.contract_id,
    parts.worked_on - ((parts.worked_on - date_trunc('month', parts.worked_on)::date) % 7)::integer as week,
    coalesce(sum(parts.rounded_seconds), 0)::bigint as rounded_seconds,
    coalesce(sum(parts.unpaid_seconds), 0)::bigint as unpaid_seconds,
    coalesce(sum(parts.amount_minor), 0)::bigint as amount_minor,
    coalesce(sum(parts.fixed_seconds), 0)::bigint as fixed_seconds,
    coalesce(sum(parts.expected_minor), 0)::bigint as expected_minor,
    coalesce(sum(parts.billed_minor), 0)::bigint as billed_minor,
    coalesce(sum(parts.unbilled_seconds), 0)::bigint as unbilled_seconds,
    coalesce(sum(parts.quarantined_seconds), 0)::bigint as quarantined_seconds
from parts
inner join temp.scope_contract using (contract_id)
group by scope_contract.home_hash, parts.contract_id, week
