-- One row per invoice line in scope that is not in quarantine (row_id), with what its invoice makes of it.
-- A line that bills time logs, or a period, before from_day is left out: what it bills is as it was.
-- amount_minor counts whole minor units of the contract's currency, where the line is in that currency.
-- is_matched: the line takes part in the matching of time logs. Its other cells stay in line_row.
select
    line_row.row_id,
    invoice.contract_id,
    line_row.invoice_id,
    line_row.time_log_id,
    line_row.seconds,
    line_row.net_amount,
    case when invoice.is_in_currency then source.ten_thousandths(line_row.net_amount) // invoice.minor_step end
        as amount_minor,
    line_row.kind = 'time' as is_time,
    invoice.is_live,
    invoice.is_in_currency,
    line_row.kind = 'time'
    and invoice.is_live
    and invoice.is_in_currency
    and invoice.billing_model = 'time_and_materials' as is_matched
from temp.line_row
inner join temp.invoice using (invoice_id)
inner join temp.scope_contract on invoice.contract_id = scope_contract.contract_id
anti join (select row_id from temp.row_reason where dataset = 'invoice_lines') as set_aside
    on line_row.row_id = set_aside.row_id
where
    scope_contract.from_day = '-infinity'
    or not (
        line_row.kind = 'time' and invoice.is_live and invoice.is_in_currency
        and invoice.billing_model = 'time_and_materials'
    )
    or case
        when line_row.time_log_id is null then coalesce(line_row.period_end >= scope_contract.from_day, true)
        else line_row.time_log_id in (
            select time_log_id
            from temp.log_row
            where time_log_id is not null and (select bool_or(from_day > '-infinity') from temp.scope_contract)
        )
    end
