-- One row per open finding of a contract in scope that this run finds again if it still holds (finding_id), as the
-- newest run stored it.
select * exclude (is_looked_at)
from reconcile.stored_finding
where is_looked_at
