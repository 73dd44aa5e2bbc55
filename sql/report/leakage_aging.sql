-- One row per currency and age bucket (currency, age_bucket): open leakage by the age of the work behind it.
select
    finding_open.currency,
    report.age_bucket(last_run.as_of - finding_open.worked_on) as age_bucket,
    count(*) as finding_count,
    sum(finding_open.amount)::decimal(18, 4) as amount
from audit.finding_open
cross join reconcile.last_run
where finding_open.side = 'leakage'
group by finding_open.currency, age_bucket
