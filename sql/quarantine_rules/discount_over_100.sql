-- A contract's discount is more than everything.
select
    'contracts' as dataset,
    row_id,
    discount_percent::varchar as detail
from temp.contract_row
where discount_percent > 100
