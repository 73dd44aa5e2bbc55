-- Another live row has the same key and says something else, or comes from another source.
select 'contracts' as dataset, row_id, null::varchar as detail
from temp.contract_row
where row_id in (select row_id from source.conflict where dataset = 'contracts')
union all by name
select 'projects' as dataset, row_id, null::varchar as detail
from temp.project_row
where row_id in (select row_id from source.conflict where dataset = 'projects')
union all by name
select 'time_logs' as dataset, row_id, null::varchar as detail
from temp.log_row
where row_id in (select row_id from source.conflict where dataset = 'time_logs')
union all by name
select 'invoices' as dataset, row_id, null::varchar as detail
from temp.invoice_row
where row_id in (select row_id from source.conflict where dataset = 'invoices')
union all by name
select 'invoice_lines' as dataset, row_id, null::varchar as detail
from temp.line_row
where row_id in (select row_id from source.conflict where dataset = 'invoice_lines')
