-- One row per run (run_id), also those that halted; log counts are totals of the whole database after the run.
select
    run_id,
    as_of,
    started_at,
    finished_at,
    status,
    error,
    duration_ms,
    logs_received,
    logs_eligible,
    logs_quarantined,
    logs_excluded,
    logs_out_of_term,
    findings_opened,
    findings_changed,
    findings_closed,
    rules_digest,
    settings
from audit.run
