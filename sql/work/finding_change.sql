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
        -- Those that are looked at whatever their day have none. Read before all other cells it rules most rows out; of
        -- a few contracts most are ruled out already.
        and source.is_from_first_day(worked_on, source.is_of_few_contracts())

),

fresh as (

    select finding.*
    from temp.finding
    anti join open_in_scope
        on
            finding.finding_id = open_in_scope.finding_id
            and finding.home_hash = open_in_scope.home_hash
            and finding.contract_id = open_in_scope.contract_id
            and finding.client is not distinct from open_in_scope.client
            and finding.currency is not distinct from open_in_scope.currency
            and finding.side = open_in_scope.side
            and finding.class = open_in_scope.class
            and finding.about = open_in_scope.about
            and finding.project_id is not distinct from open_in_scope.project_id
            and finding.person is not distinct from open_in_scope.person
            and finding.role is not distinct from open_in_scope.role
            and finding.task is not distinct from open_in_scope.task
            and finding.worked_on is not distinct from open_in_scope.worked_on
            and finding.seconds is not distinct from open_in_scope.seconds
            and finding.hourly_rate is not distinct from open_in_scope.hourly_rate
            and finding.expected_amount is not distinct from open_in_scope.expected_amount
            and finding.billed_amount is not distinct from open_in_scope.billed_amount
            and finding.amount is not distinct from open_in_scope.amount
            and finding.invoice_ids is not distinct from open_in_scope.invoice_ids
            and finding.due_on is not distinct from open_in_scope.due_on

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
