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

    select position.*
    from temp.position
    anti join open_in_scope
        on
            position.home_hash = open_in_scope.home_hash
            and position.contract_id = open_in_scope.contract_id
            and position.client is not distinct from open_in_scope.client
            and position.currency is not distinct from open_in_scope.currency
            and position.billing_model = open_in_scope.billing_model
            and position.expected_amount is not distinct from open_in_scope.expected_amount
            and position.billed_amount is not distinct from open_in_scope.billed_amount
            and position.leakage_amount = open_in_scope.leakage_amount
            and position.written_off_amount = open_in_scope.written_off_amount
            and position.overbilled_amount = open_in_scope.overbilled_amount
            and position.exposure_amount = open_in_scope.exposure_amount
            and position.pending_amount = open_in_scope.pending_amount
            and position.noise_amount = open_in_scope.noise_amount
            and position.other_billed_amount = open_in_scope.other_billed_amount
            and position.unbilled_hours is not distinct from open_in_scope.unbilled_hours
            and position.quarantined_hours is not distinct from open_in_scope.quarantined_hours
            and position.quarantined_line_count = open_in_scope.quarantined_line_count
            and position.threshold_amount is not distinct from open_in_scope.threshold_amount
            and position.is_flagged is not distinct from open_in_scope.is_flagged
            and position.severity = open_in_scope.severity
            and position.oldest_leakage_on is not distinct from open_in_scope.oldest_leakage_on

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
