-- One row per eligible time log in scope (row_id), in the order its contract counts in (place).
-- The chain carries numbers only; who did what is joined where a step asks for it, and at the end.
select
    log.row_id,
    log.contract_id,
    log.worked_on,
    log.seconds,
    log.hourly_rate_scaled,
    -- DuckDB's year() and month() make a table of all days between 1970 and 2050 each time a statement begins.
    datediff('month', date '1970-01-01', log.worked_on) as worked_month,
    row_number() over (partition by log.contract_id order by log.worked_on, log_row.time_log_id) as place
from temp.log
inner join temp.log_row using (row_id)
where log.status = 'eligible'
