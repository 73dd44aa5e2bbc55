-- One row per live version of a rate of a contract in scope (row_id), cells read.
select
    row_id,
    source,
    odd_cells,
    digest,
    contract_hash,
    contract_id,
    project_id,
    person,
    role,
    task,
    hourly_rate,
    valid_from,
    valid_to
from source.rates
where
    ended_load_id is null
    and source.is_in_scope(contract_hash)
    and coalesce(contract_id, '') in (select contract_id from temp.scope_contract)
