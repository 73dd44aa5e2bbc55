-- One row per contract or project whose result the calendar alone can have changed since the last run (kind, id).
-- A log that was not due is, or one that was dated in the future no longer is.
select distinct
    'contract' as kind,
    contract_id as id
from audit.finding_open
where class = 'not_due' and due_on <= (select as_of from temp.cycle)
union all by name
select distinct
    'project' as kind,
    home as id
from audit.quarantine_open
where entity = 'time_logs' and contains(reasons, 'future_dated')
