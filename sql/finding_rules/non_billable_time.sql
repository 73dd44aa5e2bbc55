-- Time marked not billable on a billable project, estimated.
select
    'exposure' as side,
    contract_id,
    'log:' || time_log_id as about,
    row_id,
    seconds,
    amount_minor
from temp.estimate
where class = 'non_billable_time'
