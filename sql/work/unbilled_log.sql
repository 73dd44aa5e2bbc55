-- One row per time log in scope with nothing billed though due (row_id), and why: void_not_rebilled, late_entry or
-- unbilled.
select
    gap.row_id,
    case
        when voided_log.row_id is not null then 'void_not_rebilled'
        when late_log.row_id is not null then 'late_entry'
        else 'unbilled'
    end as cause,
    coalesce(voided_log.invoice_ids, late_log.invoice_ids) as invoice_ids
from temp.gap
left join billing.voided_log on gap.row_id = voided_log.row_id
left join billing.late_log on gap.row_id = late_log.row_id
where gap.gap = 'nothing_billed'
