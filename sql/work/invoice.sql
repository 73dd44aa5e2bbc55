-- One row per invoice in scope that is not in quarantine (invoice_id).
select
    invoice_row.invoice_id,
    invoice_row.contract_id,
    invoice_row.currency,
    invoice_row.issued_on,
    invoice_row.status,
    invoice_row.status in ('issued', 'paid') as is_live,
    coalesce(invoice_row.currency = contract.currency, false) as is_in_currency,
    contract.billing_model,
    contract.minor_step
from temp.invoice_row
inner join temp.contract using (contract_id)
anti join (select row_id from temp.row_reason where dataset = 'invoices') using (row_id)
