-- One row per row set aside in scope that differs from what is open (quarantine_id): change is opened, changed, closed.
-- A row that left did so because a new version superseded it, or because it became valid or disappeared (resolved).
with

fresh as (

    select
        quarantine_id,
        row_id,
        home_hash,
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
        waived_reason
    from temp.quarantined
    except
    select
        quarantine_id,
        row_id,
        home_hash,
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
        waived_reason
    from temp.open_quarantine

),

gone as (

    select open_quarantine.*
    from temp.open_quarantine
    anti join temp.quarantined on open_quarantine.quarantine_id = quarantined.quarantine_id

)

select
    fresh.*,
    open_quarantine.opened_run_id,
    open_quarantine.raw,
    case when open_quarantine.quarantine_id is null then 'opened' else 'changed' end as change
from fresh
left join temp.open_quarantine on fresh.quarantine_id = open_quarantine.quarantine_id
union all by name
select
    gone.* replace (
        case
            when superseded.row_id is null then 'resolved'
            else 'superseded'
        end as state
    ),
    'closed' as change
from gone
left join reconcile.superseded_row as superseded
    on gone.entity = superseded.dataset and gone.row_id = superseded.row_id
