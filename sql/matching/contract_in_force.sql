-- One row per time log in scope whose project has a contract in force on its day (row_id), also of logs in quarantine.
with

winners as (

    select
        log_row.row_id,
        max(contract_version.precedence) as precedence
    from temp.log_row
    inner join temp.project using (project_id)
    inner join temp.contract_version
        on
            project.contract_id = contract_version.contract_id
            and log_row.worked_on between contract_version.starts_on and contract_version.ends_on
    group by log_row.row_id

)

select
    winners.row_id,
    contract_version.contract_id
from winners
inner join temp.contract_version using (precedence)
