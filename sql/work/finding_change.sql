-- One row per finding in scope that differs from what is open (finding_id): change is opened, changed or closed.
with

open_in_scope as (

    select
        finding_id,
        home_hash,
        contract_id,
        client,
        currency,
        side,
        class,
        about,
        project_id,
        person,
        role,
        task,
        worked_on,
        seconds,
        hourly_rate,
        expected_amount,
        billed_amount,
        amount,
        invoice_ids,
        due_on,
        opened_run_id
    from reconcile.stored_finding
    where
        is_looked_at
        -- Those that are looked at whatever their day have none. Read before all other cells it rules most rows out.
        and (worked_on >= getvariable('first_day')::date or worked_on is null)

),

fresh as (

    select
        finding_id,
        home_hash,
        contract_id,
        client,
        currency,
        side,
        class,
        about,
        project_id,
        person,
        role,
        task,
        worked_on,
        seconds,
        hourly_rate,
        expected_amount,
        billed_amount,
        amount,
        invoice_ids,
        due_on
    from temp.finding
    except
    select
        finding_id,
        home_hash,
        contract_id,
        client,
        currency,
        side,
        class,
        about,
        project_id,
        person,
        role,
        task,
        worked_on,
        seconds,
        hourly_rate,
        expected_amount,
        billed_amount,
        amount,
        invoice_ids,
        due_on
    from open_in_scope

)

select
    fresh.*,
    open_in_scope.opened_run_id,
    case when open_in_scope.finding_id is null then 'opened' else 'changed' end as change
from fresh
left join open_in_scope on fresh.finding_id = open_in_scope.finding_id
union all by name
select
    open_in_scope.* replace (0 as amount),
    'closed' as change
from open_in_scope
anti join temp.finding on open_in_scope.finding_id = finding.finding_id
