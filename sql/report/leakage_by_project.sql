-- One row per project, contract and currency with open leakage (project_id, contract_id, currency).
select
    project_id,
    contract_id,
    any_value(client) as client,
    currency,
    ((sum(seconds) filter (where class != 'rate_under') * 20000 + 3600)::hugeint // 7200 * 0.0001)::decimal(18, 4)
        as unbilled_hours,
    sum(amount)::decimal(18, 4) as leakage_amount
from audit.finding_open
where side = 'leakage'
group by project_id, contract_id, currency
