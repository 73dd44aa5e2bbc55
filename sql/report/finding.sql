-- One row per open finding (finding_id). The amount is on the side the row names; sides never offset one another.
-- seconds are those the amount is for: unbilled or missing ones, billed ones for a wrong rate.
select
    finding_open.finding_id,
    finding_open.contract_id,
    finding_open.client,
    finding_open.currency,
    finding_open.side,
    finding_open.class,
    finding_open.about,
    report.time_log_of(finding_open.about) as time_log_id,
    finding_open.project_id,
    finding_open.person,
    finding_open.role,
    finding_open.task,
    finding_open.worked_on,
    finding_open.seconds,
    finding_open.hourly_rate,
    finding_open.expected_amount,
    finding_open.billed_amount,
    finding_open.amount,
    finding_open.invoice_ids,
    finding_open.opened_run_id,
    run.finished_at as opened_at
from audit.finding_open
left join audit.run on finding_open.opened_run_id = run.run_id
