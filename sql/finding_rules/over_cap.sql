-- Worked beyond the contract's hours cap or money cap, and therefore not owed.
select
    'exposure' as side,
    billed_log.contract_id,
    'log:' || log_row.time_log_id as about,
    billed_log.row_id,
    billed_log.over_cap_seconds as seconds,
    billed_log.over_cap_minor as amount_minor,
    billed_log.expected_minor,
    billed_log.billed_minor
from temp.billed_log
inner join temp.log_row using (row_id)
where billed_log.over_cap_minor != 0
