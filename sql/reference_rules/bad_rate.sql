-- One of a contract's rates is in quarantine: better no price than a wrong one.
select distinct
    'contracts' as dataset,
    contract_row.row_id,
    null::varchar as detail
from temp.contract_row
inner join temp.rate_row using (contract_id)
inner join temp.own_reason on rate_row.row_id = own_reason.row_id and own_reason.dataset = 'rates'
