-- One row per currency and run that changed its leakage (currency, run_id): the total leakage after that run.
with

versions as (

    select
        run_id,
        contract_id,
        currency,
        case state when 'open' then leakage_amount else 0 end as leakage_amount,
        lag(currency) over in_order as currency_before,
        lag(case state when 'open' then leakage_amount else 0 end) over in_order as leakage_amount_before
    from audit.position
    window in_order as (partition by contract_id order by run_id)

),

-- A contract whose currency was corrected leaves one currency's total and enters another's.
steps as (

    select
        run_id,
        currency,
        leakage_amount as step_amount
    from versions
    union all by name
    select
        run_id,
        currency_before as currency,
        -leakage_amount_before as step_amount
    from versions
    where leakage_amount_before is not null

),

by_run as (

    select
        currency,
        run_id,
        sum(step_amount) as step_amount
    from steps
    group by currency, run_id
    having sum(step_amount) != 0

)

select
    by_run.currency,
    by_run.run_id,
    run.finished_at,
    (sum(by_run.step_amount) over (
        partition by by_run.currency
        order by by_run.run_id
    ))::decimal(18, 4) as leakage_amount
from by_run
inner join audit.run on by_run.run_id = run.run_id
