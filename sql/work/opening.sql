-- One row per contract in scope (contract_id): the balances its months before from_day leave, as the newest run stored
-- them; zero where a run looks at all of the contract's time logs.
select
    scope_contract.contract_id,
    coalesce(sum(balance_open.rounded_seconds), 0)::bigint as rounded_seconds,
    coalesce(sum(balance_open.unpaid_seconds), 0)::bigint as unpaid_seconds,
    coalesce(sum(balance_open.amount_minor), 0)::hugeint as amount_minor,
    coalesce(sum(balance_open.fixed_seconds), 0)::bigint as fixed_seconds,
    coalesce(sum(balance_open.expected_minor), 0)::hugeint as expected_minor,
    coalesce(sum(balance_open.billed_minor), 0)::hugeint as billed_minor,
    coalesce(sum(balance_open.unbilled_seconds), 0)::bigint as unbilled_seconds,
    coalesce(sum(balance_open.quarantined_seconds), 0)::bigint as quarantined_seconds
from temp.scope_contract
left join (
    select *
    from audit.balance_open
    where coalesce(get_bit(getvariable('contract_homes')::bit, home_hash & 16383) = 1, true)
) as balance_open
    on scope_contract.contract_id = balance_open.contract_id and scope_contract.from_day > balance_open.month
group by scope_contract.contract_id
