-- One row per row in scope that is set aside (entity, row_id), with all its reasons, and whose it is.
-- quarantine_id is a hash of data set, source, key and content: a new version is another row set aside.
with

reasons as (

    select
        dataset,
        row_id,
        -- A list that is sorted: string_agg with an order of its own takes ten times as long.
        array_to_string(list_sort(list(reason)), ',') as reasons,
        case
            when count(*) = 1 then any_value(detail)
            else array_to_string(list_sort(list(reason || ' (' || detail || ')') filter (where detail != '')), '; ')
        end as detail
    from temp.reason
    group by dataset, row_id

),

rows_set_aside as (

    select
        'contracts' as entity,
        contract_row.row_id,
        contract_row.source,
        contract_row.digest,
        contract_row.contract_id as key,
        contract_row.contract_hash,
        coalesce(contract_row.contract_id, '') as home,
        contract_row.contract_id,
        null::bigint as seconds,
        null::date as worked_on
    from temp.contract_row
    where contract_row.row_id in (select row_id from reasons where dataset = 'contracts')
    union all by name
    select
        'projects' as entity,
        project_row.row_id,
        project_row.source,
        project_row.digest,
        concat(project_row.project_id, '/', project_row.contract_id) as key,
        project_row.contract_hash,
        coalesce(project_row.contract_id, '') as home,
        project_row.contract_id
    from temp.project_row
    where project_row.row_id in (select row_id from reasons where dataset = 'projects')
    union all by name
    select
        'rates' as entity,
        rate_row.row_id,
        rate_row.source,
        rate_row.digest,
        concat(
            rate_row.contract_id, '/', rate_row.project_id, '/', rate_row.person, '/', rate_row.role, '/',
            rate_row.task, '/',
            coalesce(rate_row.valid_from::varchar, json_extract_string(rate_row.odd_cells, 'valid_from'))
        ) as key,
        rate_row.contract_hash,
        coalesce(rate_row.contract_id, '') as home,
        rate_row.contract_id
    from temp.rate_row
    where rate_row.row_id in (select row_id from reasons where dataset = 'rates')
    union all by name
    select
        'time_logs' as entity,
        log_row.row_id,
        log_row.source,
        log_row.digest,
        log_row.time_log_id as key,
        log_row.contract_hash,
        coalesce(log_row.project_id, '') as home,
        log_contract.contract_id,
        log_row.seconds,
        log_row.worked_on
    from temp.log_row
    inner join temp.log_contract using (row_id)
    where log_row.row_id in (select row_id from reasons where dataset = 'time_logs')
    union all by name
    select
        'invoices' as entity,
        invoice_row.row_id,
        invoice_row.source,
        invoice_row.digest,
        invoice_row.invoice_id as key,
        invoice_row.contract_hash,
        coalesce(invoice_row.invoice_id, '') as home,
        invoice_row.contract_id
    from temp.invoice_row
    where invoice_row.row_id in (select row_id from reasons where dataset = 'invoices')
    union all by name
    select
        'invoice_lines' as entity,
        line_row.row_id,
        line_row.source,
        line_row.digest,
        concat(
            line_row.invoice_id, '/',
            coalesce(line_row.line_no::varchar, json_extract_string(line_row.odd_cells, 'line_no'))
        ) as key,
        line_row.contract_hash,
        coalesce(line_row.invoice_id, '') as home,
        invoice.contract_id,
        line_row.seconds
    from temp.line_row
    left join temp.invoice on line_row.invoice_id = invoice.invoice_id
    where line_row.row_id in (select row_id from reasons where dataset = 'invoice_lines')

),

identified as (

    select
        *,
        left(md5(concat_ws(chr(31), entity, source, coalesce(key, ''), digest)), 16) as quarantine_id
    from rows_set_aside

),

waivers as (

    select
        quarantine_id,
        arg_max(decided_by, waiver_id) as waived_by,
        arg_max(reason, waiver_id) as waived_reason
    from audit.waiver
    group by quarantine_id

)

select
    identified.quarantine_id,
    identified.row_id,
    identified.contract_hash,
    identified.home,
    identified.entity,
    coalesce(identified.key, '') as key,
    contract.contract_id,
    contract.client,
    reasons.reasons,
    reasons.detail,
    identified.source,
    identified.seconds,
    identified.worked_on,
    case when waivers.quarantine_id is null then 'open' else 'waived' end as state,
    waivers.waived_by,
    waivers.waived_reason
from identified
inner join reasons on identified.entity = reasons.dataset and identified.row_id = reasons.row_id
left join temp.contract on identified.contract_id = contract.contract_id
left join waivers on identified.quarantine_id = waivers.quarantine_id
