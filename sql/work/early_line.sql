-- One row per live line of an invoice in scope that may make a run of later weeks look further back (row_id): pooled
-- ones, and those that name a time log that has changed.
select
    row_id,
    invoice_id,
    kind,
    time_log_id,
    period_start,
    period_end
from staging.invoice_lines
where
    invoice_id in (select invoice_id from temp.scope_invoice where from_day > '-infinity')
    and (time_log_id is null or time_log_id in (select time_log_id from source.change))
