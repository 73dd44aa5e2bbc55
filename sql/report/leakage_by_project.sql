-- One row per project, contract and currency with open leakage (project_id, contract_id, currency).
-- The hours a log is short of count while any leakage of it is open, also where a person has accepted their amount; not
-- where they are worth nothing, of which there is no finding (contract_position counts these too).
with

logs as (

    select
        project_id,
        contract_id,
        client,
        currency,
        sum(amount) filter (where side = 'leakage') as leakage_amount,
        coalesce(sum(seconds) filter (where class != 'rate_under'), 0) as unbilled_seconds
    from audit.finding_open
    where side in ('leakage', 'written_off')
    group by about, project_id, contract_id, client, currency
    having bool_or(side = 'leakage')

)

select
    project_id,
    contract_id,
    any_value(client) as client,
    currency,
    ((sum(unbilled_seconds) * 20000 + 3600)::hugeint // 7200 * 0.0001)::decimal(18, 4) as unbilled_hours,
    sum(leakage_amount)::decimal(18, 4) as leakage_amount
from logs
group by project_id, contract_id, currency
