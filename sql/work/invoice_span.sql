-- One row per live invoice in its contract's currency whose lines speak of dates (invoice_id): the span of those dates.
-- Direct lines speak of the day of their eligible log, pooled ones of their period, where blank is endless.
-- Where a run looks at later weeks only, the spans are those the newest run stored: none of them can have changed.
with

days as (

    select
        line.contract_id,
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
    scope_contract.home_hash,
    days.contract_id,
    days.invoice_id,
    min(days.first_day) as first_day,
    max(days.last_day) as last_day
from days
inner join temp.scope_contract using (contract_id)
where scope_contract.from_day = '-infinity'
group by scope_contract.home_hash, days.contract_id, days.invoice_id
having min(days.first_day) is not null
union all by name
select
    invoice_span_open.home_hash,
    invoice_span_open.contract_id,
    invoice_span_open.invoice_id,
    invoice_span_open.first_day,
    invoice_span_open.last_day
from audit.invoice_span_open
inner join temp.scope_contract using (contract_id)
where
    source.is_in_scope(invoice_span_open.home_hash)
    and scope_contract.from_day > '-infinity'
