-- A contract's or an invoice's currency is no code of ISO 4217.
select
    'contracts' as dataset,
    row_id,
    currency as detail
from temp.contract_row
where currency is not null and currency not in (select currency from temp.currency)
union all by name
select
    'invoices' as dataset,
    row_id,
    currency as detail
from temp.invoice_row
where currency is not null and currency not in (select currency from temp.currency)
