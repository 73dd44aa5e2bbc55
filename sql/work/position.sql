-- One row per contract in scope (contract_id), as audit.position_open stores it. Amounts in the contract's currency.
with

billed as (

    select
        contract_id,
        sum(expected_minor) as expected_minor,
        sum(billed_minor) as billed_minor
    from temp.billed_log
    group by contract_id

),

sides as (

    select
        finding.contract_id,
        sum(finding.amount) filter (where finding.side = 'leakage') as leakage_amount,
        sum(finding.amount) filter (where finding.side = 'written_off') as written_off_amount,
        sum(finding.amount) filter (where finding.side = 'overbilled') as overbilled_amount,
        sum(finding.amount) filter (where finding.side = 'exposure') as exposure_amount,
        sum(finding.amount) filter (where finding.side = 'pending') as pending_amount,
        sum(finding.amount) filter (where finding.side = 'noise') as noise_amount,
        min(finding.worked_on) filter (where finding.side = 'leakage') as oldest_leakage_on
    from temp.finding
    inner join temp.contract using (contract_id)
    where finding.currency is not distinct from contract.currency
    group by finding.contract_id

),

unbilled as (

    select
        gap.contract_id,
        sum(gap.payable_seconds - gap.billed_seconds) as seconds
    from temp.gap
    where
        gap.billed_seconds < gap.payable_seconds
        and (gap.contract_id, gap.time_log_id) in (
            select (contract_id, time_log_id) from temp.finding where side = 'leakage'
        )
    group by gap.contract_id

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

-- A row somebody waived is at risk no longer.
at_risk as (

    select
        contract_id,
        sum(seconds) filter (where entity = 'time_logs' and seconds > 0) as seconds,
        -- A line whose invoice is itself set aside is nobody's here: its invoice is counted.
        count(*) filter (where entity in ('invoices', 'invoice_lines')) as line_count
    from temp.quarantined
    where state = 'open'
    group by contract_id

),

amounts as (

    select
        contract.contract_id,
        contract.client,
        contract.currency,
        contract.billing_model,
        coalesce((billed.expected_minor * contract.minor_unit)::decimal(18, 4), 0) as expected_amount,
        coalesce((billed.billed_minor * contract.minor_unit)::decimal(18, 4), 0) as billed_amount,
        coalesce(sides.leakage_amount, 0)::decimal(18, 4) as leakage_amount,
        coalesce(sides.written_off_amount, 0)::decimal(18, 4) as written_off_amount,
        coalesce(sides.overbilled_amount, 0)::decimal(18, 4) as overbilled_amount,
        coalesce(sides.exposure_amount, 0)::decimal(18, 4) as exposure_amount,
        coalesce(sides.pending_amount, 0)::decimal(18, 4) as pending_amount,
        coalesce(sides.noise_amount, 0)::decimal(18, 4) as noise_amount,
        coalesce(other_billed.amount, 0)::decimal(18, 4) as other_billed_amount,
        ((coalesce(unbilled.seconds, 0) * 20000 + 3600)::hugeint // 7200 * 0.0001)::decimal(18, 4) as unbilled_hours,
        ((coalesce(at_risk.seconds, 0) * 20000 + 3600)::hugeint // 7200 * 0.0001)::decimal(18, 4) as quarantined_hours,
        coalesce(at_risk.line_count, 0) as quarantined_line_count,
        contract.threshold_amount,
        contract.is_valid,
        sides.oldest_leakage_on
    from temp.contract
    left join billed using (contract_id)
    left join sides using (contract_id)
    left join unbilled using (contract_id)
    left join other_billed using (contract_id)
    left join at_risk using (contract_id)

)

select
    * exclude (is_valid, oldest_leakage_on),
    is_valid and leakage_amount > threshold_amount as is_flagged,
    case
        when is_valid and leakage_amount > threshold_amount then 'critical'
        when leakage_amount > 0 and leakage_amount * 2 >= threshold_amount then 'watch'
        else 'ok'
    end as severity,
    oldest_leakage_on
from amounts
