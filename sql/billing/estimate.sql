-- One row per time log outside the pricing chain that may be worth something (row_id): its seconds at its rate alone.
-- The amount is NULL where there is no single rate or the contract is invalid.
with

candidates as (

    select
        row_id,
        contract_id,
        hourly_rate_scaled,
        seconds,
        'out_of_term' as class
    from temp.log
    where status = 'out_of_term'
    union all by name
    select
        log.row_id,
        log.contract_id,
        log.hourly_rate_scaled,
        log.seconds,
        case log.excluded_as when 'unapproved' then 'unapproved' else 'non_billable_time' end as class
    from temp.log
    inner join temp.contract using (contract_id)
    where
        log.match = 'in_force'
        and contract.billing_model = 'time_and_materials'
        and log.is_project_billable
        and (log.excluded_as = 'unapproved' or (log.excluded_as = 'non_billable' and not log.is_billable))
    union all by name
    select
        row_id,
        contract_id,
        hourly_rate_scaled,
        overrun_seconds as seconds,
        'fixed_price_overrun' as class
    from billing.overrun
    where overrun_seconds > 0

),

valued as (

    select
        candidates.*,
        2 * candidates.seconds::hugeint * candidates.hourly_rate_scaled * contract.minor_factor + 36000000 as numerator
    from candidates
    inner join temp.contract using (contract_id)

)

select
    valued.row_id,
    valued.contract_id,
    log_row.time_log_id,
    valued.class,
    valued.seconds,
    -- DuckDB divides numbers of up to 18 digits fifty times faster than longer ones.
    case
        when valued.numerator < 4000000000000000000 then valued.numerator::bigint // 72000000
        else (valued.numerator // 72000000)::bigint
    end as amount_minor
from valued
inner join temp.log_row using (row_id)
