-- One row per live version of an invoice line in scope (row_id): staging.invoice_lines, read once per run.
-- Where a run looks at later weeks only, direct lines that bill other time logs are left out. Lines that are set aside,
-- or stand on an invoice that bills no time logs, count towards their contract all the same.
with

billing_invoice as (

    select invoice_row.invoice_id
    from temp.invoice_row
    inner join temp.contract_row using (contract_id)
    where invoice_row.invoice_id is not null
    group by invoice_row.invoice_id
    having
        bool_and(
            coalesce(invoice_row.status in ('issued', 'paid'), false)
            and coalesce(invoice_row.currency = contract_row.currency, false)
            and contract_row.billing_model is distinct from 'fixed_price'
        )

)

from staging.invoice_lines
where
    coalesce(invoice_id, '') in (select invoice_id from temp.scope_invoice where from_day = '-infinity')
    or kind != 'time'
    or time_log_id is null
    or time_log_id in (select time_log_id from temp.log_row where time_log_id is not null)
    or row_id in (select row_id from temp.open_quarantine where entity = 'invoice_lines')
    or coalesce(invoice_id, '') not in (select invoice_id from billing_invoice)
