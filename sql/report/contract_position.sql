-- One row per contract (contract_id): what is owed, what was billed, and every difference on its own side.
-- Amounts are in the contract's currency; leakage, overbilled, exposure and pending never offset one another.
select
    position_open.contract_id,
    position_open.client,
    position_open.currency,
    position_open.billing_model,
    position_open.expected_amount,
    position_open.billed_amount,
    position_open.leakage_amount,
    position_open.written_off_amount,
    position_open.overbilled_amount,
    position_open.exposure_amount,
    position_open.pending_amount,
    position_open.noise_amount,
    position_open.other_billed_amount,
    position_open.unbilled_hours,
    position_open.quarantined_hours,
    position_open.quarantined_line_count,
    position_open.threshold_amount,
    position_open.is_flagged,
    position_open.severity,
    position_open.oldest_leakage_on,
    last_run.as_of - position_open.oldest_leakage_on as age_days,
    report.age_bucket(last_run.as_of - position_open.oldest_leakage_on) as age_bucket,
    last_run.as_of,
    last_run.run_id
from audit.position_open
cross join reconcile.last_run
