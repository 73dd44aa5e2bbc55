-- One row per source row this run sets aside (dataset, row_id): its cells as JSON text, as given, or rebuilt from what
-- was read of them. Of the large tables the cycle says which contracts are in scope, and between which numbers the rows
-- lie that it sets aside: the rest is passed over before its cells are read.
select
    'contracts' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'contract_id', contract_id::varchar,
            'client', client::varchar,
            'currency', currency::varchar,
            'billing_model', billing_model::varchar,
            'starts_on', starts_on::varchar,
            'ends_on', ends_on::varchar,
            'rounding_minutes', rounding_minutes::varchar,
            'rounding_mode', rounding_mode::varchar,
            'rounding_unit', rounding_unit::varchar,
            'minimum_minutes', minimum_minutes::varchar,
            'overtime_after_minutes', overtime_after_minutes::varchar,
            'overtime_multiplier', overtime_multiplier::varchar,
            'weekend_multiplier', weekend_multiplier::varchar,
            'prepaid_minutes', prepaid_minutes::varchar,
            'prepaid_period', prepaid_period::varchar,
            'cap_minutes', cap_minutes::varchar,
            'cap_amount', cap_amount::varchar,
            'cap_period', cap_period::varchar,
            'discount_percent', discount_percent::varchar,
            'grace_days', grace_days::varchar,
            'grace_from', grace_from::varchar,
            'threshold_amount', threshold_amount::varchar
        )::varchar
    ) as raw
from source.contracts
where row_id in (select row_id from temp.quarantine_change where entity = 'contracts' and change = 'opened')
union all by name
select
    'projects' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'project_id', project_id::varchar,
            'contract_id', contract_id::varchar,
            'name', name::varchar,
            'is_billable', is_billable::varchar
        )::varchar
    ) as raw
from source.projects
where row_id in (select row_id from temp.quarantine_change where entity = 'projects' and change = 'opened')
union all by name
select
    'rates' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'contract_id', contract_id::varchar,
            'project_id', project_id::varchar,
            'person', person::varchar,
            'role', role::varchar,
            'task', task::varchar,
            'hourly_rate', hourly_rate::varchar,
            'valid_from', valid_from::varchar,
            'valid_to', valid_to::varchar
        )::varchar
    ) as raw
from source.rates
where row_id in (select row_id from temp.quarantine_change where entity = 'rates' and change = 'opened')
union all by name
select
    'time_logs' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'time_log_id', time_log_id::varchar,
            'project_id', project_id::varchar,
            'person', person::varchar,
            'role', role::varchar,
            'task', task::varchar,
            'worked_on', worked_on::varchar,
            'seconds', seconds::varchar,
            'is_billable', is_billable::varchar,
            'is_approved', is_approved::varchar,
            'entered_at', entered_at::varchar,
            'note', note::varchar
        )::varchar
    ) as raw
from source.time_logs
where
    source.is_in_scope(contract_hash)
    and row_id >= list_min(getvariable('opened_time_logs')::bigint[])
    and row_id <= list_max(getvariable('opened_time_logs')::bigint[])
    and row_id in (select row_id from temp.quarantine_change where entity = 'time_logs' and change = 'opened')
union all by name
select
    'invoices' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'invoice_id', invoice_id::varchar,
            'contract_id', contract_id::varchar,
            'currency', currency::varchar,
            'issued_on', issued_on::varchar,
            'status', status::varchar
        )::varchar
    ) as raw
from source.invoices
where row_id in (select row_id from temp.quarantine_change where entity = 'invoices' and change = 'opened')
union all by name
select
    'invoice_lines' as dataset,
    row_id,
    coalesce(
        raw,
        json_object(
            'invoice_id', invoice_id::varchar,
            'line_no', line_no::varchar,
            'kind', kind::varchar,
            'time_log_id', time_log_id::varchar,
            'project_id', project_id::varchar,
            'person', person::varchar,
            'role', role::varchar,
            'task', task::varchar,
            'period_start', period_start::varchar,
            'period_end', period_end::varchar,
            'seconds', seconds::varchar,
            'net_amount', net_amount::varchar
        )::varchar
    ) as raw
from source.invoice_lines
where
    source.is_in_scope(contract_hash)
    and row_id >= list_min(getvariable('opened_invoice_lines')::bigint[])
    and row_id <= list_max(getvariable('opened_invoice_lines')::bigint[])
    and row_id in (select row_id from temp.quarantine_change where entity = 'invoice_lines' and change = 'opened')
