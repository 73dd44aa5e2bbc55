-- Billed, and no eligible time log accounts for it.
select
    'overbilled' as side,
    contract_id,
    about,
    seconds,
    amount_minor,
    amount_minor as billed_minor,
    invoice_ids
from temp.unmatched
where amount_minor > 0
