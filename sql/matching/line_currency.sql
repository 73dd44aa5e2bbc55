-- One row per invoice in scope whose versions agree on a currency (invoice_id): the currency its lines are read in.
-- A version without one agrees with none that has one.
select
    invoice_id,
    min(currency) as currency
from temp.invoice_row
where invoice_id is not null
group by invoice_id
having min(coalesce(currency, '')) = max(currency)
