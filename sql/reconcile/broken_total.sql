-- One row per control total that does not hold in scope (what, id); a run that finds any is rolled back.
select
    'time logs of project' as what,
    concat_ws(' ', project_id, week) as id,
    concat(
        logs_received, ' received, ', logs_quarantined, ' quarantined + ', logs_excluded, ' excluded + ',
        logs_out_of_term, ' out of term + ', logs_eligible, ' eligible; ',
        seconds_received, ' s received, ', seconds_counted, ' s counted'
    ) as detail
from temp.log_count
where
    logs_received != logs_quarantined + logs_excluded + logs_out_of_term + logs_eligible
    or seconds_received != seconds_counted
union all by name
select
    'amounts of contract' as what,
    position.contract_id as id,
    concat(
        'expected ', position.expected_amount, ' - billed ', position.billed_amount, ' is not leakage ',
        position.leakage_amount, ' + written off ', position.written_off_amount, ' + pending ',
        position.pending_amount, ' + noise ', position.noise_amount, ' - overbilled logs ',
        coalesce(log_overbilled.amount, 0)
    ) as detail
from temp.position
left join (
    select
        contract_id,
        sum(amount) as amount
    from (
        select
            contract_id,
            amount
        from temp.finding
        where side = 'overbilled' and expected_amount is not null
        union all by name
        select
            contract_id,
            amount
        from temp.kept_finding
        where side = 'overbilled' and has_expected
    ) as findings
    group by contract_id
) as log_overbilled using (contract_id)
where
    position.expected_amount - position.billed_amount
    != position.leakage_amount + position.written_off_amount + position.pending_amount + position.noise_amount
    - coalesce(log_overbilled.amount, 0)
