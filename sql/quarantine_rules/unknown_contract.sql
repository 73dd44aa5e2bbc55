-- A project, a rate or an invoice names a contract that was never received. The contracts they name are in scope too.
with

contracts as (

    select contract_id
    from temp.contract_row
    where contract_id is not null

)

select
    'projects' as dataset,
    row_id,
    contract_id as detail
from temp.project_row
where contract_id is not null and contract_id not in (from contracts)
union all by name
select
    'rates' as dataset,
    row_id,
    contract_id as detail
from temp.rate_row
where contract_id is not null and contract_id not in (from contracts)
union all by name
select
    'invoices' as dataset,
    row_id,
    contract_id as detail
from temp.invoice_row
where contract_id is not null and contract_id not in (from contracts)
