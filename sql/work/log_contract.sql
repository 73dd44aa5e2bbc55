-- One row per time log in scope (row_id): the contract it belongs to and how it got there. match is in_force, nearest
-- (a trustworthy log out of term), only (a log in quarantine whose project has one contract) or NULL (nobody's).
-- is_trusted: no reason so far; is_chargeable: trusted, in force, billable and approved.
with

untrusted as (

    select distinct row_id
    from temp.row_reason
    where dataset = 'time_logs'

),

only_contracts as (

    select
        project_id,
        min(contract_id) as contract_id
    from temp.project
    group by project_id
    having count(*) = 1

),

matched as (

    select
        log_row.row_id,
        log_row.project_id,
        log_row.worked_on,
        coalesce(log_row.is_billable, true) as is_billable,
        coalesce(log_row.is_approved, true) as is_approved,
        untrusted.row_id is null as is_trusted,
        case
            when in_force.row_id is not null then 'in_force'
            when nearest_contract.row_id is not null then 'nearest'
            when only_contracts.contract_id is not null then 'only'
        end as match,
        coalesce(in_force.contract_id, nearest_contract.contract_id, only_contracts.contract_id) as contract_id,
        coalesce(nearest_contract.rate_on, log_row.worked_on) as rate_on
    from temp.log_row
    left join untrusted on log_row.row_id = untrusted.row_id
    left join temp.in_force on log_row.row_id = in_force.row_id
    left join matching.nearest_contract on log_row.row_id = nearest_contract.row_id
    left join only_contracts on log_row.project_id = only_contracts.project_id

)

select
    matched.row_id,
    matched.match,
    matched.contract_id,
    matched.rate_on,
    matched.is_trusted,
    matched.is_billable,
    matched.is_approved,
    coalesce(project.is_billable, true) as is_project_billable,
    matched.is_trusted
    and coalesce(matched.match = 'in_force', false)
    and matched.is_billable
    and matched.is_approved
    and coalesce(project.is_billable, true) as is_chargeable
from matched
left join temp.project
    on matched.project_id = project.project_id and matched.contract_id = project.contract_id
