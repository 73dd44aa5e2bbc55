-- One row per rate of a contract in scope that is not in quarantine (row_id).
-- Of the rates that match a log the greatest precedence wins; equal precedence means equal scope and start.
with

scoped as (

    select
        *,
        case when person is null then 0 else 8 end
        + case when task is null then 0 else 4 end
        + case when role is null then 0 else 2 end
        + case when project_id is null then 0 else 1 end as specificity
    from temp.rate_row
    anti join (select row_id from temp.row_reason where dataset = 'rates') using (row_id)

)

select
    row_id,
    contract_id,
    project_id,
    person,
    role,
    task,
    valid_from,
    coalesce(valid_to, 'infinity') as valid_to,
    (hourly_rate * 10000)::bigint as hourly_rate_scaled,
    -- Counted over all contracts: for few rows a window with partitions costs DuckDB three times as much.
    dense_rank() over (
        order by contract_id, specificity, valid_from, project_id, person, role, task
    ) as precedence
from scoped
