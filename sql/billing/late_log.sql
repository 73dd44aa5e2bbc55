-- One row per time log with nothing billed that was entered after a live invoice covering its day was issued (row_id).
select
    gap.row_id,
    array_to_string(list_sort(list(invoice.invoice_id)), ', ') as invoice_ids
from temp.gap
inner join temp.invoice
    on gap.contract_id = invoice.contract_id and gap.entered_on > invoice.issued_on
inner join temp.invoice_span
    on
        invoice.invoice_id = invoice_span.invoice_id
        and gap.worked_on between invoice_span.first_day and invoice_span.last_day
where gap.gap = 'nothing_billed'
group by gap.row_id
