-- Billed for fewer hours than are owed.
select
    'leakage' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.payable_seconds - gap.billed_seconds as seconds,
    shortfall.hours_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
inner join temp.shortfall using (row_id)
where shortfall.hours_minor != 0
