-- One row per currency and age bucket (currency, age_bucket): open leakage by the age of the work behind it.
with

aged as (

    select
        finding_open.currency,
        finding_open.amount,
        last_run.as_of - finding_open.worked_on as age_days
    from audit.finding_open
    cross join reconcile.last_run
    where finding_open.side = 'leakage'

)

select
    currency,
    case
        when age_days <= 0 then 'current'
        when age_days <= 30 then '1-30'
        when age_days <= 60 then '31-60'
        when age_days <= 90 then '61-90'
        else '91+'
    end as age_bucket,
    count(*) as finding_count,
    sum(amount)::decimal(18, 4) as amount
from aged
group by currency, age_bucket
