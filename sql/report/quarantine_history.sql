-- One row per row set aside and version (quarantine_id, valid_from_run_id). The state of the newest version says what
-- became of it: open, waived, resolved (it became valid or disappeared) or superseded (a new version came).
with

versions as (

    select
        quarantine.*,
        lead(quarantine.run_id) over (
            partition by quarantine.quarantine_id
            order by quarantine.run_id
        ) as valid_to_run_id
    from audit.quarantine

)

select
    versions.quarantine_id,
    versions.entity,
    versions.key,
    versions.contract_id,
    versions.client,
    versions.reasons,
    versions.detail,
    versions.source,
    versions.raw,
    versions.seconds,
    versions.state,
    versions.opened_run_id,
    opened_run.finished_at as opened_at,
    versions.waived_by,
    versions.waived_reason,
    versions.run_id as valid_from_run_id,
    versions.valid_to_run_id,
    run.finished_at as valid_from_at,
    next_run.finished_at as valid_to_at
from versions
inner join audit.run on versions.run_id = run.run_id
left join audit.run as opened_run on versions.opened_run_id = opened_run.run_id
left join audit.run as next_run on versions.valid_to_run_id = next_run.run_id
