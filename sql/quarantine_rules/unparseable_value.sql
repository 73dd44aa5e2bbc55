-- A cell is there but cannot be read; the detail names column and value.
-- An amount may have the decimals of its currency, and any number of them where the currency is unknown. Of a contract
-- work.contract_row has put those that have more among the odd cells.
with

odd_rows as (

    select 'contracts' as dataset, row_id, odd_cells, currency from temp.contract_row where odd_cells is not null
    union all by name
    select 'projects' as dataset, row_id, odd_cells from temp.project_row where odd_cells is not null
    union all by name
    select 'rates' as dataset, row_id, odd_cells from temp.rate_row where odd_cells is not null
    union all by name
    select 'time_logs' as dataset, row_id, odd_cells from temp.log_row where odd_cells is not null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells from temp.invoice_row where odd_cells is not null
    union all by name
    select 'invoice_lines' as dataset, line_row.row_id, line_row.odd_cells, line_currency.currency
    from temp.line_row
    left join matching.line_currency using (invoice_id)
    where line_row.odd_cells is not null

),

odd_cells as (

    select dataset, row_id, currency, unnest(json_keys(odd_cells)) as cell, odd_cells
    from odd_rows

),

too_fine as (

    select
        'invoice_lines' as dataset,
        line_row.row_id,
        'net_amount' as cell,
        rtrim(line_row.net_amount::varchar, '0') as value
    from temp.line_row
    inner join matching.line_currency using (invoice_id)
    inner join temp.currency on line_currency.currency = currency.currency
    where source.ten_thousandths(line_row.net_amount) % currency.minor_step != 0

),

cells as (

    select dataset, row_id, cell, json_extract_string(odd_cells, cell) as value
    from odd_cells
    where
        cell not in ('cap_amount', 'threshold_amount', 'net_amount')
        or currency in (select currency from temp.currency)
        or not source.is_number(json_extract_string(odd_cells, cell))
    union all by name
    select dataset, row_id, cell, value
    from too_fine

)

select
    dataset,
    row_id,
    array_to_string(list_sort(list(cell || ': ' || left(value, 200))), '; ') as detail
from cells
group by dataset, row_id
