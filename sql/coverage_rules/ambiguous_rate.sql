-- Two rates of the same rank differ for a billable, approved time log under a time-and-materials contract.
select
    'time_logs' as dataset,
    log_contract.row_id,
    log_contract.contract_id as detail
from temp.log_contract
inner join temp.contract using (contract_id)
inner join temp.log_rate using (row_id)
where
    log_contract.is_chargeable
    and contract.billing_model = 'time_and_materials'
    and log_rate.is_ambiguous
