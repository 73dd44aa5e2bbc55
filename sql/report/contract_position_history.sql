-- One row per contract and version of its position (contract_id, valid_from_run_id). A version holds from the run that
-- wrote it to the run before valid_to_run_id; valid_to_run_id is NULL for the current one.
with

versions as (

    select
        position.*,
        lead(position.run_id) over (partition by position.contract_id order by position.run_id) as valid_to_run_id
    from audit.position

)

select
    versions.contract_id,
    versions.client,
    versions.currency,
    versions.billing_model,
    versions.expected_amount,
    versions.billed_amount,
    versions.leakage_amount,
    versions.written_off_amount,
    versions.overbilled_amount,
    versions.exposure_amount,
    versions.pending_amount,
    versions.noise_amount,
    versions.other_billed_amount,
    versions.unbilled_hours,
    versions.quarantined_hours,
    versions.quarantined_line_count,
    versions.threshold_amount,
    versions.is_flagged,
    versions.severity,
    versions.oldest_leakage_on,
    run.as_of,
    versions.run_id,
    versions.run_id as valid_from_run_id,
    versions.valid_to_run_id,
    run.finished_at as valid_from_at,
    next_run.finished_at as valid_to_at
from versions
inner join audit.run on versions.run_id = run.run_id
left join audit.run as next_run on versions.valid_to_run_id = next_run.run_id
where versions.state = 'open'
