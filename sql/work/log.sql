-- One row per time log in scope (row_id): what became of it (status: quarantined, excluded, out_of_term or eligible).
-- hourly_rate_scaled is the one rate in ten-thousandths, NULL where there is none or the contract is invalid.
-- Texts stay in log_row: writing one costs as much as four numbers.
with

untrusted as (

    select distinct row_id
    from temp.reason
    where dataset = 'time_logs'

)

select
    log_row.row_id,
    log_row.worked_on,
    log_row.seconds,
    log_contract.contract_id,
    log_contract.match,
    log_contract.is_billable,
    log_contract.is_project_billable,
    case when contract.is_valid and not log_rate.is_ambiguous then log_rate.hourly_rate_scaled end
        as hourly_rate_scaled,
    case
        when untrusted.row_id is not null then 'quarantined'
        when not (log_contract.is_billable and log_contract.is_approved and log_contract.is_project_billable)
            then 'excluded'
        when log_contract.match = 'nearest' then 'out_of_term'
        when contract.billing_model = 'fixed_price' then 'excluded'
        else 'eligible'
    end as status,
    case
        when untrusted.row_id is not null then null
        when not (log_contract.is_billable and log_contract.is_project_billable) then 'non_billable'
        when not log_contract.is_approved then 'unapproved'
        when log_contract.match = 'nearest' then null
        when contract.billing_model = 'fixed_price' then 'fixed_price'
    end as excluded_as
from temp.log_row
inner join temp.log_contract using (row_id)
left join temp.contract on log_contract.contract_id = contract.contract_id
left join temp.log_rate on log_row.row_id = log_rate.row_id
left join untrusted on log_row.row_id = untrusted.row_id
