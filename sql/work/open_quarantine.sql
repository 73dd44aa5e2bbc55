-- One row per row in scope that is set aside already (quarantine_id), as the newest run stored it. Without the
-- cells as given, which are long.
with

scope as (

    select
        'contracts' as kind,
        contract_id as id,
        null::date as from_day
    from temp.scope_contract
    union all
    select
        'invoices' as kind,
        invoice_id as id,
        null::date as from_day
    from temp.scope_invoice
    union all
    select
        'time_logs' as kind,
        project_id as id,
        from_day
    from temp.scope_project

)

select
    quarantine_open.quarantine_id,
    quarantine_open.row_id,
    quarantine_open.contract_hash,
    quarantine_open.home,
    quarantine_open.entity,
    quarantine_open.key,
    quarantine_open.contract_id,
    quarantine_open.client,
    quarantine_open.reasons,
    quarantine_open.detail,
    quarantine_open.source,
    quarantine_open.seconds,
    quarantine_open.worked_on,
    quarantine_open.state,
    quarantine_open.waived_by,
    quarantine_open.waived_reason,
    quarantine_open.opened_run_id
from audit.quarantine_open
inner join scope
    on
        quarantine_open.home = scope.id
        and case
            when quarantine_open.entity in ('projects', 'rates') then 'contracts'
            when quarantine_open.entity = 'invoice_lines' then 'invoices'
            else quarantine_open.entity
        end = scope.kind
        and coalesce(quarantine_open.worked_on >= scope.from_day, true)
where
    source.is_in_scope(quarantine_open.contract_hash)
    -- Most rows that belong to no contract are older time logs.
    and source.is_from_first_day(quarantine_open.worked_on, source.is_of_few_contracts())
