-- One row per row set aside now and reason (quarantine_id, reason).
select
    quarantine_id,
    entity,
    key,
    unnest(string_split(reasons, ',')) as reason
from audit.quarantine_open
