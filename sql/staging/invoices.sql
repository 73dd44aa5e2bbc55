-- One row per live version of an invoice in scope (row_id), cells read.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    invoice_id,
    contract_id,
    currency,
    issued_on,
    status
from source.invoices
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(invoice_id, '') in (select invoice_id from temp.scope_invoice)
