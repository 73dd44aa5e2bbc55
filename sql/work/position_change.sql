-- One row per contract in scope whose position differs from what is open (contract_id): change is written or closed.
with

open_in_scope as (

    select
        home_hash,
        contract_id,
        client,
        currency,
        billing_model,
        expected_amount,
        billed_amount,
        leakage_amount,
        written_off_amount,
        overbilled_amount,
        exposure_amount,
        pending_amount,
        noise_amount,
        other_billed_amount,
        unbilled_hours,
        quarantined_hours,
        quarantined_line_count,
        threshold_amount,
        is_flagged,
        severity,
        oldest_leakage_on
    from audit.position_open
    where
        source.is_in_scope(home_hash)
        and contract_id in (select contract_id from temp.scope_contract)

),

fresh as (

    select
        home_hash,
        contract_id,
        client,
        currency,
        billing_model,
        expected_amount,
        billed_amount,
        leakage_amount,
        written_off_amount,
        overbilled_amount,
        exposure_amount,
        pending_amount,
        noise_amount,
        other_billed_amount,
        unbilled_hours,
        quarantined_hours,
        quarantined_line_count,
        threshold_amount,
        is_flagged,
        severity,
        oldest_leakage_on
    from temp.position
    except
    select
        home_hash,
        contract_id,
        client,
        currency,
        billing_model,
        expected_amount,
        billed_amount,
        leakage_amount,
        written_off_amount,
        overbilled_amount,
        exposure_amount,
        pending_amount,
        noise_amount,
        other_billed_amount,
        unbilled_hours,
        quarantined_hours,
        quarantined_line_count,
        threshold_amount,
        is_flagged,
        severity,
        oldest_leakage_on
    from open_in_scope

)

select
    fresh.*,
    'written' as change
from fresh
union all by name
select
    open_in_scope.*,
    'closed' as change
from open_in_scope
anti join temp.position on open_in_scope.contract_id = position.contract_id
