-- One row per eligible time log in scope (row_id): what the pricing chain says is owed for it.
-- Only what later steps read is kept: writing a table costs by the column. pricing.money_cap has every step.
select
    money_cap.row_id,
    money_cap.contract_id,
    money_cap.place,
    money_cap.worked_on,
    money_cap.worked_month,
    money_cap.hourly_rate_scaled,
    money_cap.payable_seconds,
    money_cap.unpaid_regular_seconds + money_cap.unpaid_overtime_seconds - money_cap.payable_seconds
        as over_cap_seconds,
    money_cap.expected_minor,
    money_cap.over_cap_minor,
    log.time_log_id,
    log.project_id,
    log.person,
    log.role,
    log.task,
    log.entered_on
from pricing.money_cap
inner join temp.log using (row_id)
