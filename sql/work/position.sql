-- One row per contract in scope (contract_id), as audit.position_open stores it. Amounts in the contract's currency.
with

-- What the weeks in scope add to what those before left.
balance as (

    select
        opening.home_hash,
        opening.contract_id,
        opening.expected_minor + coalesce(sum(balance.expected_minor), 0)::hugeint as expected_minor,
        opening.billed_minor + coalesce(sum(balance.billed_minor), 0)::hugeint as billed_minor,
        opening.unbilled_seconds + coalesce(sum(balance.unbilled_seconds), 0)::hugeint as unbilled_seconds,
        opening.quarantined_seconds + coalesce(sum(balance.quarantined_seconds), 0)::hugeint as quarantined_seconds
    from temp.opening
    left join temp.balance using (contract_id)
    group by
        opening.home_hash,
        opening.contract_id,
        opening.expected_minor,
        opening.billed_minor,
        opening.unbilled_seconds,
        opening.quarantined_seconds

),

findings as (

    select
        contract_id,
        currency,
        side,
        amount,
        worked_on
    from temp.finding
    union all by name
    select
        contract_id,
        currency,
        side,
        amount,
        worked_on
    from temp.kept_finding

),

sides as (

    select
        findings.contract_id,
        sum(findings.amount) filter (where findings.side = 'leakage') as leakage_amount,
        sum(findings.amount) filter (where findings.side = 'written_off') as written_off_amount,
        sum(findings.amount) filter (where findings.side = 'overbilled') as overbilled_amount,
        sum(findings.amount) filter (where findings.side = 'exposure') as exposure_amount,
        sum(findings.amount) filter (where findings.side = 'pending') as pending_amount,
        sum(findings.amount) filter (where findings.side = 'noise') as noise_amount,
        min(findings.worked_on) filter (where findings.side = 'leakage') as oldest_leakage_on
    from findings
    inner join temp.contract using (contract_id)
    where findings.currency is not distinct from contract.currency
    group by findings.contract_id

),

other_billed as (

    select
        contract_id,
        sum(net_amount) as amount
    from temp.line
    where
        is_live
        and is_in_currency
        and not is_matched
    group by contract_id

),

-- A row somebody waived is at risk no longer. A line whose invoice is itself set aside is nobody's here: its invoice is
-- counted.
at_risk as (

    select
        contract_id,
        count(*) as line_count
    from temp.quarantined
    where state = 'open' and entity in ('invoices', 'invoice_lines')
    group by contract_id

),

amounts as (

    select
        balance.home_hash,
        contract.contract_id,
        contract.client,
        contract.currency,
        contract.billing_model,
        (balance.expected_minor * contract.minor_unit)::decimal(18, 4) as expected_amount,
        (balance.billed_minor * contract.minor_unit)::decimal(18, 4) as billed_amount,
        coalesce(sides.leakage_amount, 0)::decimal(18, 4) as leakage_amount,
        coalesce(sides.written_off_amount, 0)::decimal(18, 4) as written_off_amount,
        coalesce(sides.overbilled_amount, 0)::decimal(18, 4) as overbilled_amount,
        coalesce(sides.exposure_amount, 0)::decimal(18, 4) as exposure_amount,
        coalesce(sides.pending_amount, 0)::decimal(18, 4) as pending_amount,
        coalesce(sides.noise_amount, 0)::decimal(18, 4) as noise_amount,
        coalesce(other_billed.amount, 0)::decimal(18, 4) as other_billed_amount,
        ((balance.unbilled_seconds * 20000 + 3600)::hugeint // 7200 * 0.0001)::decimal(18, 4) as unbilled_hours,
        ((balance.quarantined_seconds * 20000 + 3600)::hugeint // 7200 * 0.0001)::decimal(18, 4) as quarantined_hours,
        coalesce(at_risk.line_count, 0) as quarantined_line_count,
        contract.threshold_amount,
        contract.is_valid,
        sides.oldest_leakage_on
    from temp.contract
    inner join balance using (contract_id)
    left join sides using (contract_id)
    left join other_billed using (contract_id)
    left join at_risk using (contract_id)

)

select
    * exclude (is_valid, oldest_leakage_on),
    is_valid and leakage_amount > threshold_amount as is_flagged,
    case
        when is_valid and leakage_amount > threshold_amount then 'critical'
        when leakage_amount > 0 and leakage_amount::decimal(22, 4) * 2 >= threshold_amount then 'watch'
        else 'ok'
    end as severity,
    oldest_leakage_on
from amounts
