-- Worked beyond the contract's hours cap or money cap, and therefore not owed.
select
    'exposure' as side,
    contract_id,
    'log:' || time_log_id as about,
    row_id,
    over_cap_seconds as seconds,
    over_cap_minor as amount_minor,
    expected_minor,
    billed_minor
from temp.billed_log
where over_cap_minor != 0
