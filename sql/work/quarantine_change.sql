-- One row per row set aside in scope that differs from what is open (quarantine_id): change is opened, changed, closed.
-- A row that left did so because a new version superseded it, or because it became valid or disappeared (resolved).
with

open_in_scope as (

    select
        quarantine_id,
        row_id,
        home,
        entity,
        key,
        contract_id,
        client,
        reasons,
        detail,
        source,
        seconds,
        state,
        waived_by,
        waived_reason
    from audit.quarantine_open
    where
        (
            entity in ('contracts', 'projects', 'rates')
            and home in (select contract_id from temp.scope_contract)
        )
        or (entity = 'time_logs' and home in (select project_id from temp.scope_project))
        or (entity in ('invoices', 'invoice_lines') and home in (select invoice_id from temp.scope_invoice))

),

fresh as (

    select
        quarantine_id,
        row_id,
        home,
        entity,
        key,
        contract_id,
        client,
        reasons,
        detail,
        source,
        seconds,
        state,
        waived_by,
        waived_reason
    from temp.quarantined
    except
    select
        quarantine_id,
        row_id,
        home,
        entity,
        key,
        contract_id,
        client,
        reasons,
        detail,
        source,
        seconds,
        state,
        waived_by,
        waived_reason
    from open_in_scope

)

select
    fresh.*,
    quarantine_open.opened_run_id,
    quarantine_open.raw,
    case when quarantine_open.quarantine_id is null then 'opened' else 'changed' end as change
from fresh
left join audit.quarantine_open on fresh.quarantine_id = quarantine_open.quarantine_id
union all by name
select
    open_in_scope.* replace (
        case
            when superseded.row_id is null then 'resolved'
            else 'superseded'
        end as state
    ),
    quarantine_open.opened_run_id,
    quarantine_open.raw,
    'closed' as change
from open_in_scope
inner join audit.quarantine_open on open_in_scope.quarantine_id = quarantine_open.quarantine_id
left join reconcile.superseded_row as superseded
    on open_in_scope.entity = superseded.dataset and open_in_scope.row_id = superseded.row_id
anti join temp.quarantined on open_in_scope.quarantine_id = quarantined.quarantine_id
