-- One row per live version of a project under a contract in scope (row_id), cells read.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    project_id,
    contract_id,
    name,
    is_billable
from source.projects
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(contract_id, '') in (select contract_id from temp.scope_contract)
