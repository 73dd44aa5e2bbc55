-- A time line on a live invoice whose currency is not its contract's: matched to nothing, in the invoice's currency.
select
    'overbilled' as side,
    line.contract_id,
    'line:' || line.invoice_id || '/' || line_row.line_no as about,
    line.seconds,
    line.net_amount as foreign_amount,
    invoice.currency as foreign_currency,
    line.invoice_id as invoice_ids
from temp.line
inner join temp.line_row using (row_id)
inner join temp.invoice on line.invoice_id = invoice.invoice_id
where
    line.is_time
    and line.is_live
    and not line.is_in_currency
    and invoice.billing_model = 'time_and_materials'
