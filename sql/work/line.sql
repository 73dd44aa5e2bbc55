-- One row per invoice line in scope that is not in quarantine (invoice_id, line_no), with what its invoice says.
-- amount_minor counts whole minor units of the contract's currency, where the line is in that currency.
-- is_matched: the line takes part in the matching of time logs.
select
    invoice.contract_id,
    line_row.invoice_id,
    line_row.line_no,
    line_row.kind,
    line_row.time_log_id,
    line_row.project_id,
    line_row.person,
    line_row.role,
    line_row.task,
    line_row.period_start,
    line_row.period_end,
    line_row.seconds,
    line_row.net_amount,
    case when invoice.is_in_currency then ((line_row.net_amount * 10000)::hugeint // invoice.minor_step)::bigint end
        as amount_minor,
    invoice.currency,
    invoice.issued_on,
    invoice.status,
    invoice.is_live,
    invoice.is_in_currency,
    invoice.billing_model,
    line_row.kind = 'time'
    and invoice.is_live
    and invoice.is_in_currency
    and invoice.billing_model = 'time_and_materials' as is_matched
from temp.line_row
inner join temp.invoice using (invoice_id)
anti join (select row_id from temp.row_reason where dataset = 'invoice_lines') using (row_id)
