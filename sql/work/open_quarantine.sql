-- One row per row in scope that is set aside already (quarantine_id), as the newest run stored it. Without the
-- cells as given, which are long.
select
    quarantine_id,
    row_id,
    contract_hash,
    home,
    entity,
    key,
    contract_id,
    client,
    reasons,
    detail,
    source,
    seconds,
    worked_on,
    state,
    waived_by,
    waived_reason,
    opened_run_id
from audit.quarantine_open
where
    source.is_in_scope(contract_hash)
    -- Most rows that belong to no contract are older time logs.
    and (worked_on >= getvariable('first_day')::date or worked_on is null)
    and (
        (
            entity in ('contracts', 'projects', 'rates')
            and home in (select contract_id from temp.scope_contract)
        )
        or (entity in ('invoices', 'invoice_lines') and home in (select invoice_id from temp.scope_invoice))
        or exists (
            select 1
            from temp.scope_project
            where
                quarantine_open.entity = 'time_logs'
                and quarantine_open.home = scope_project.project_id
                and coalesce(quarantine_open.worked_on >= scope_project.from_day, true)
        )
    )
