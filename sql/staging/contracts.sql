-- One row per live version of a contract in scope (row_id), cells read, defaults not yet applied.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    contract_id,
    client,
    currency,
    billing_model,
    starts_on,
    ends_on,
    rounding_minutes,
    rounding_mode,
    rounding_unit,
    minimum_minutes,
    overtime_after_minutes,
    overtime_multiplier,
    weekend_multiplier,
    prepaid_minutes,
    prepaid_period,
    cap_minutes,
    cap_amount,
    cap_period,
    discount_percent,
    grace_days,
    grace_from,
    threshold_amount,
    raw
from source.contracts
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(contract_id, '') in (select contract_id from temp.scope_contract)
