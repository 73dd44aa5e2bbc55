-- One row per row set aside in scope that differs from what is open (quarantine_id): change is opened, changed, closed.
-- A row that left did so because a new version superseded it, or because it became valid or disappeared (resolved).
with

-- The number a row is found by says nothing about it, and may be another one since.
fresh as (

    select quarantined.*
    from temp.quarantined
    anti join temp.open_quarantine
        on
            quarantined.quarantine_id = open_quarantine.quarantine_id
            and quarantined.row_id = open_quarantine.row_id
            and quarantined.home = open_quarantine.home
            and quarantined.entity = open_quarantine.entity
            and quarantined.key = open_quarantine.key
            and quarantined.contract_id is not distinct from open_quarantine.contract_id
            and quarantined.client is not distinct from open_quarantine.client
            and quarantined.reasons = open_quarantine.reasons
            and quarantined.detail is not distinct from open_quarantine.detail
            and quarantined.source = open_quarantine.source
            and quarantined.seconds is not distinct from open_quarantine.seconds
            and quarantined.worked_on is not distinct from open_quarantine.worked_on
            and quarantined.state = open_quarantine.state
            and quarantined.waived_by is not distinct from open_quarantine.waived_by
            and quarantined.waived_reason is not distinct from open_quarantine.waived_reason

),

gone as (

    select open_quarantine.*
    from temp.open_quarantine
    anti join temp.quarantined on open_quarantine.quarantine_id = quarantined.quarantine_id

)

select
    fresh.*,
    open_quarantine.opened_run_id,
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
