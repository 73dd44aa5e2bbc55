-- One row per contract or project whose result the calendar alone can have changed since the last run (kind, id), and
-- the day from which on. A log that was not due is, or one that was dated in the future no longer is: invoices may
-- have waited for that, so anything may change (NULL).
select
    'contract' as kind,
    contract_id as id,
    min(worked_on) as from_day
from audit.finding_open
where class = 'not_due' and due_on <= (select as_of from temp.cycle)
group by contract_id
union all by name
select distinct
    'project' as kind,
    home as id,
    null::date as from_day
from audit.quarantine_open
where
    entity = 'time_logs'
    and contains(reasons, 'future_dated')
    and worked_on <= (select as_of from temp.cycle)
