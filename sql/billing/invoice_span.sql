-- One row per live invoice in its contract's currency whose lines speak of dates (invoice_id): the span of those dates.
-- Direct lines speak of the day of their eligible log, pooled ones of their period, where blank is endless.
with

days as (

    select
        line.invoice_id,
        case when line.time_log_id is null then coalesce(line_row.period_start, '-infinity') else log_row.worked_on end
            as first_day,
        case when line.time_log_id is null then coalesce(line_row.period_end, 'infinity') else log_row.worked_on end
            as last_day
    from temp.line
    inner join temp.line_row using (row_id)
    left join temp.direct
        on line.contract_id = direct.contract_id and line.time_log_id = direct.time_log_id
    left join temp.log_row on direct.row_id = log_row.row_id
    where
        line.is_matched
        and coalesce(line_row.period_start <= line_row.period_end or line.time_log_id is not null, true)

)

select
    invoice_id,
    min(first_day) as first_day,
    max(last_day) as last_day
from days
group by invoice_id
