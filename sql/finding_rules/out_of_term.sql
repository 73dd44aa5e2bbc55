-- Billable work on a day no contract of its project covers, estimated at the nearest one.
select
    'exposure' as side,
    contract_id,
    'log:' || time_log_id as about,
    row_id,
    seconds,
    amount_minor
from temp.estimate
where class = 'out_of_term'
