-- One row per live version of a line of an invoice in scope (row_id), cells read.
-- The bits the cycle sets let DuckDB pass over the rows of all others before it reads their cells; the id decides.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    invoice_id,
    line_no,
    coalesce(kind, 'time') as kind,
    time_log_id,
    project_id,
    person,
    role,
    task,
    period_start,
    period_end,
    seconds,
    net_amount
from source.invoice_lines
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(invoice_id, '') in (select invoice_id from temp.scope_invoice)
