-- A billable, approved time log falls under a contract that has a reason of its own.
select
    'time_logs' as dataset,
    log_contract.row_id,
    log_contract.contract_id as detail
from temp.log_contract
inner join temp.contract using (contract_id)
where
    log_contract.is_chargeable
    and not contract.is_valid
