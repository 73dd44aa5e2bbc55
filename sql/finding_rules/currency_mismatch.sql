-- A time line on a live invoice whose currency is not its contract's: matched to nothing, in the invoice's currency.
select
    'overbilled' as side,
    contract_id,
    'line:' || invoice_id || '/' || line_no as about,
    seconds,
    net_amount as foreign_amount,
    currency as foreign_currency,
    invoice_id as invoice_ids
from temp.line
where
    kind = 'time'
    and is_live
    and not is_in_currency
    and billing_model = 'time_and_materials'
