-- A required cell is blank.
with

cells as (

    select 'contracts' as dataset, row_id, odd_cells, 'contract_id' as cell
    from temp.contract_row
    where contract_id is null
    union all by name
    select 'contracts' as dataset, row_id, odd_cells, 'client' as cell
    from temp.contract_row
    where client is null
    union all by name
    select 'contracts' as dataset, row_id, odd_cells, 'currency' as cell
    from temp.contract_row
    where currency is null
    union all by name
    select 'contracts' as dataset, row_id, odd_cells, 'starts_on' as cell
    from temp.contract_row
    where starts_on is null
    union all by name
    select 'projects' as dataset, row_id, odd_cells, 'project_id' as cell
    from temp.project_row
    where project_id is null
    union all by name
    select 'projects' as dataset, row_id, odd_cells, 'contract_id' as cell
    from temp.project_row
    where contract_id is null
    union all by name
    select 'rates' as dataset, row_id, odd_cells, 'contract_id' as cell
    from temp.rate_row
    where contract_id is null
    union all by name
    select 'rates' as dataset, row_id, odd_cells, 'hourly_rate' as cell
    from temp.rate_row
    where hourly_rate is null
    union all by name
    select 'rates' as dataset, row_id, odd_cells, 'valid_from' as cell
    from temp.rate_row
    where valid_from is null
    union all by name
    select 'time_logs' as dataset, row_id, odd_cells, 'time_log_id' as cell
    from temp.log_row
    where time_log_id is null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells, 'invoice_id' as cell
    from temp.invoice_row
    where invoice_id is null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells, 'contract_id' as cell
    from temp.invoice_row
    where contract_id is null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells, 'currency' as cell
    from temp.invoice_row
    where currency is null
    union all by name
    select 'invoices' as dataset, row_id, odd_cells, 'status' as cell
    from temp.invoice_row
    where status is null
    union all by name
    select 'invoice_lines' as dataset, row_id, odd_cells, 'invoice_id' as cell
    from temp.line_row
    where invoice_id is null
    union all by name
    select 'invoice_lines' as dataset, row_id, odd_cells, 'line_no' as cell
    from temp.line_row
    where line_no is null
    union all by name
    select 'invoice_lines' as dataset, row_id, odd_cells, 'net_amount' as cell
    from temp.line_row
    where net_amount is null

)

select
    dataset,
    row_id,
    array_to_string(list_sort(list(cell)), ', ') as detail
from cells
-- A cell that is there but cannot be read is unparseable, not missing.
where odd_cells is null or json_extract_string(odd_cells, cell) is null
group by dataset, row_id
