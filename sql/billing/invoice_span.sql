-- One row per live invoice in its contract's currency whose lines speak of dates (invoice_id): the span of those dates.
-- Direct lines speak of the day of their eligible log, pooled ones of their period, where blank is endless.
with

days as (

    select
        line.invoice_id,
        case when line.time_log_id is null then coalesce(line.period_start, '-infinity') else priced_log.worked_on end
            as first_day,
        case when line.time_log_id is null then coalesce(line.period_end, 'infinity') else priced_log.worked_on end
            as last_day
    from temp.line
    left join temp.priced_log
        on line.contract_id = priced_log.contract_id and line.time_log_id = priced_log.time_log_id
    where
        line.is_matched
        and coalesce(line.period_start <= line.period_end or line.time_log_id is not null, true)

)

select
    invoice_id,
    min(first_day) as first_day,
    max(last_day) as last_day
from days
group by invoice_id
