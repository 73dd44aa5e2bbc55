-- One row per client and currency (client, currency): how many contracts, how many of them flagged, and their leakage.
select
    client,
    currency,
    count(*) as contract_count,
    count(*) filter (where is_flagged) as flagged_count,
    sum(leakage_amount)::decimal(18, 4) as leakage_amount
from audit.position_open
group by client, currency
