-- One row per finding and version (finding_id, version). A closed version has amount 0; valid_to_run_id is NULL for the
-- newest version, which is current if its state is open.
with

versions as (

    select
        finding.*,
        row_number() over (partition by finding.finding_id order by finding.run_id) as version,
        lead(finding.run_id) over (partition by finding.finding_id order by finding.run_id) as valid_to_run_id
    from audit.finding

)

select
    versions.finding_id,
    versions.contract_id,
    versions.client,
    versions.currency,
    versions.side,
    versions.class,
    versions.about,
    report.time_log_of(versions.about) as time_log_id,
    versions.project_id,
    versions.person,
    versions.role,
    versions.task,
    versions.worked_on,
    versions.seconds,
    versions.hourly_rate,
    versions.expected_amount,
    versions.billed_amount,
    versions.amount,
    versions.invoice_ids,
    versions.opened_run_id,
    opened_run.finished_at as opened_at,
    versions.version,
    versions.state,
    versions.run_id as valid_from_run_id,
    versions.valid_to_run_id,
    run.finished_at as valid_from_at,
    next_run.finished_at as valid_to_at
from versions
inner join audit.run on versions.run_id = run.run_id
left join audit.run as opened_run on versions.opened_run_id = opened_run.run_id
left join audit.run as next_run on versions.valid_to_run_id = next_run.run_id
