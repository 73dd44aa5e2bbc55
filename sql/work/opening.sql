-- One row per contract in scope (contract_id): the balances its weeks before from_day leave, as the newest run stored
-- them; zero where a run looks at all of the contract's time logs. Sums named month_... are those of the weeks that lie
-- in the month of from_day (worked_month).
with

before as (

    select
        scope_contract.home_hash,
        scope_contract.contract_id,
        balance_open.* exclude (home_hash, contract_id),
        datediff('month', date '1970-01-01', scope_contract.from_day) as worked_month,
        datediff('month', date '1970-01-01', balance_open.week) = worked_month as is_of_month
    from temp.scope_contract
    left join (
        select *
        from audit.balance_open
        where source.is_in_scope(home_hash)
    ) as balance_open
        on scope_contract.contract_id = balance_open.contract_id and scope_contract.from_day > balance_open.week

)

select
    home_hash,
    contract_id,
    worked_month,
    coalesce(sum(rounded_seconds) filter (where is_of_month), 0)::bigint as month_rounded_seconds,
    coalesce(sum(unpaid_seconds) filter (where is_of_month), 0)::bigint as month_unpaid_seconds,
    coalesce(sum(amount_minor) filter (where is_of_month), 0)::hugeint as month_amount_minor,
    coalesce(sum(fixed_seconds) filter (where is_of_month), 0)::bigint as month_fixed_seconds,
    coalesce(sum(rounded_seconds), 0)::bigint as rounded_seconds,
    coalesce(sum(unpaid_seconds), 0)::bigint as unpaid_seconds,
    coalesce(sum(amount_minor), 0)::hugeint as amount_minor,
    coalesce(sum(fixed_seconds), 0)::bigint as fixed_seconds,
    coalesce(sum(expected_minor), 0)::hugeint as expected_minor,
    coalesce(sum(billed_minor), 0)::hugeint as billed_minor,
    coalesce(sum(unbilled_seconds), 0)::bigint as unbilled_seconds,
    coalesce(sum(quarantined_seconds), 0)::bigint as quarantined_seconds
from before
group by home_hash, contract_id, worked_month
