-- One row per sum of open findings of a contract in scope that stay as they are (contract_id, currency, side,
-- has_expected: whether they are of eligible time logs).
select
    contract_id,
    currency,
    side,
    expected_amount is not null as has_expected,
    sum(amount) as amount,
    min(worked_on) as worked_on
from reconcile.stored_finding
where not is_looked_at
group by contract_id, currency, side, has_expected
