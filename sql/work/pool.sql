-- One row per contract and scope of its pooled lines (contract_id, about).
-- Of the pools that match a log the lowest place wins; place is NULL where the pool can match nothing.
with

pools as (

    select
        line.contract_id,
        line_row.project_id,
        line_row.person,
        line_row.role,
        line_row.task,
        line_row.period_start,
        line_row.period_end,
        sum(line.amount_minor)::bigint as amount_minor,
        coalesce(sum(line.seconds), 0)::bigint as seconds,
        min((line.invoice_id, line_row.line_no)) as first_line,
        array_to_string(list_sort(list_distinct(list(line.invoice_id))), ', ') as invoice_ids
    from temp.line
    inner join temp.line_row using (row_id)
    where line.is_matched and line.time_log_id is null
    group by
        line.contract_id,
        line_row.project_id,
        line_row.person,
        line_row.role,
        line_row.task,
        line_row.period_start,
        line_row.period_end

),

described as (

    select
        *,
        seconds > 0 and coalesce(period_start <= period_end, true) as can_match,
        case when person is null then 0 else 8 end
        + case when task is null then 0 else 4 end
        + case when role is null then 0 else 2 end
        + case when project_id is null then 0 else 1 end as specificity,
        concat_ws(
            '|',
            'pool:' || source.scope_part(project_id),
            source.scope_part(person),
            source.scope_part(role),
            source.scope_part(task),
            coalesce(period_start::varchar, ''),
            coalesce(period_end::varchar, '')
        ) as about
    from pools

)

select
    * exclude (specificity, can_match, first_line),
    case
        when can_match
            then
                row_number() over (
                    partition by contract_id, can_match
                    order by specificity desc, period_end - period_start nulls last, first_line
                )
    end as place
from described
