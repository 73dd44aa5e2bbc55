-- One row per eligible time log in scope (row_id), in the order its contract counts in (place).
-- The chain carries numbers only; who did what is joined where a step asks for it, and at the end.
select
    row_id,
    contract_id,
    worked_on,
    seconds,
    hourly_rate_scaled,
    year(worked_on) * 12 + month(worked_on) as worked_month,
    row_number() over (partition by contract_id order by worked_on, time_log_id) as place
from temp.log
where status = 'eligible'
