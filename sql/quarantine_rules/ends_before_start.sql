-- A contract ends before it starts.
select
    'contracts' as dataset,
    row_id,
    starts_on || ' to ' || ends_on as detail
from temp.contract_row
where ends_on < starts_on
