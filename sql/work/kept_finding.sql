-- One row per sum of open findings of a contract in scope that stay as they are (contract_id, currency, side, class).
select
    contract_id,
    currency,
    side,
    class,
    sum(amount) as amount,
    min(worked_on) as worked_on
from reconcile.stored_finding
where not is_looked_at
group by contract_id, currency, side, class
