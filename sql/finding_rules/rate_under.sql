-- Billed at less than the contract says, once missing hours are counted apart.
select
    'leakage' as side,
    gap.contract_id,
    'log:' || gap.time_log_id as about,
    gap.row_id,
    gap.billed_seconds as seconds,
    shortfall.rate_minor as amount_minor,
    gap.expected_minor,
    gap.billed_minor,
    null::date as due_on
from temp.gap
inner join temp.shortfall using (row_id)
where shortfall.rate_minor != 0
