-- One row per eligible time log in scope (row_id) with every step of the pricing chain.
select
    money_cap.*,
    log.time_log_id,
    log.project_id,
    log.person,
    log.role,
    log.task,
    log.entered_on
from pricing.money_cap
inner join temp.log using (row_id)
