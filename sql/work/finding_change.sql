-- One row per finding in scope that differs from what is open (finding_id): change is opened, changed or closed.
with

open_in_scope as (

    select
        finding_id,
        contract_id,
        client,
        currency,
        side,
        class,
        about,
        time_log_id,
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
    from audit.finding_open
    where contract_id in (select contract_id from temp.scope_contract)

),

fresh as (

    select
        finding_id,
        contract_id,
        client,
        currency,
        side,
        class,
        about,
        time_log_id,
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
        contract_id,
        client,
        currency,
        side,
        class,
        about,
        time_log_id,
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
    finding_open.opened_run_id,
    case when finding_open.finding_id is null then 'opened' else 'changed' end as change
from fresh
left join audit.finding_open on fresh.finding_id = finding_open.finding_id
union all by name
select
    open_in_scope.* replace (0 as amount),
    finding_open.opened_run_id,
    'closed' as change
from open_in_scope
inner join audit.finding_open on open_in_scope.finding_id = finding_open.finding_id
anti join temp.finding on open_in_scope.finding_id = finding.finding_id
