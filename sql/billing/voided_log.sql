-- One row per time log with nothing billed that a void invoice of its contract had billed (row_id).
with

void_lines as (

    select
        line.contract_id,
        line_row.*
    from temp.line
    inner join temp.line_row using (row_id)
    inner join temp.invoice on line.invoice_id = invoice.invoice_id
    where
        invoice.status = 'void'
        and line.is_time
        and (line.time_log_id is not null or coalesce(line_row.period_start <= line_row.period_end, true))

),

matches as (

    select
        gap.row_id,
        void_lines.invoice_id
    from temp.gap
    inner join void_lines
        on gap.contract_id = void_lines.contract_id and gap.time_log_id = void_lines.time_log_id
    where gap.gap = 'nothing_billed'
    union
    select
        gap.row_id,
        void_lines.invoice_id
    from temp.gap
    inner join void_lines
        on
            gap.contract_id = void_lines.contract_id
            and (void_lines.period_start is null or gap.worked_on >= void_lines.period_start)
            and (void_lines.period_end is null or gap.worked_on <= void_lines.period_end)
            and (void_lines.project_id is null or gap.project_id = void_lines.project_id)
            and (void_lines.person is null or gap.person = void_lines.person)
            and (void_lines.task is null or gap.task = void_lines.task)
            and (void_lines.role is null or gap.role = void_lines.role)
    where
        gap.gap = 'nothing_billed'
        and void_lines.time_log_id is null

)

select
    row_id,
    array_to_string(list_sort(list(invoice_id)), ', ') as invoice_ids
from matches
group by row_id
