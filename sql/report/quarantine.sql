-- One row per row set aside now (quarantine_id), with every reason it has and its cells: as
-- given where one could not be read, else as they were read.
-- state is open, or waived where a person accepted that the row stays out.
select
    quarantine_open.quarantine_id,
    quarantine_open.entity,
    quarantine_open.key,
    quarantine_open.contract_id,
    quarantine_open.client,
    quarantine_open.reasons,
    quarantine_open.detail,
    quarantine_open.source,
    quarantine_open.raw,
    quarantine_open.seconds,
    quarantine_open.state,
    quarantine_open.opened_run_id,
    run.finished_at as opened_at
from audit.quarantine_open
left join audit.run on quarantine_open.opened_run_id = run.run_id
