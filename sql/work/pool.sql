-- One row per contract and scope of its pooled lines (contract_id, about).
-- Of the pools that match a log the lowest place wins; place is NULL where the pool can match nothing.
with

pools as (

    select
        contract_id,
        project_id,
        person,
        role,
        task,
        period_start,
        period_end,
        sum(amount_minor)::bigint as amount_minor,
        coalesce(sum(seconds), 0)::bigint as seconds,
        min((invoice_id, line_no)) as first_line,
        string_agg(distinct invoice_id, ', ' order by invoice_id) as invoice_ids
    from temp.line
    where is_matched and time_log_id is null
    group by contract_id, project_id, person, role, task, period_start, period_end

),

described as (

    select
        *,
        seconds > 0 and coalesce(period_start <= period_end, true) as can_match,
        case when person is null then 0 else 8 end
        + case when task is null then 0 else 4 end
        + case when role is null then 0 else 2 end
        + case when project_id is null then 0 else 1 end as specificity,
        concat(
            'pool:', project_id, '|', person, '|', role, '|', task, '|', period_start, '|', period_end
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
