-- An invoice line names an invoice that was never received, or is in quarantine.
select
    'invoice_lines' as dataset,
    row_id,
    invoice_id as detail
from temp.line_row
where
    invoice_id is not null
    and invoice_id not in (
        select invoice_row.invoice_id
        from temp.invoice_row
        anti join (select row_id from temp.own_reason where dataset = 'invoices') as set_aside using (row_id)
    )
