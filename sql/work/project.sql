-- One row per project under a contract in scope that is not in quarantine (project_id, contract_id).
select
    project_id,
    contract_id,
    coalesce(is_billable, true) as is_billable
from temp.project_row
anti join (select row_id from temp.row_reason where dataset = 'projects') using (row_id)
