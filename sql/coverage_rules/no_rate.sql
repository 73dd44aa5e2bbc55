-- A billable, approved time log under a time-and-materials contract has no rate.
select
    'time_logs' as dataset,
    log_contract.row_id,
    log_contract.contract_id as detail
from temp.log_contract
inner join temp.contract using (contract_id)
anti join temp.log_rate using (row_id)
where
    log_contract.is_chargeable
    and contract.billing_model = 'time_and_materials'
