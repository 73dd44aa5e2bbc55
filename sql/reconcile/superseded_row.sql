-- One row per source row that a newer version of the same key replaced (dataset, row_id).
select
    'contracts' as dataset,
    row_id
from source.contracts
where ended_by = 'superseded'
union all by name
select
    'projects' as dataset,
    row_id
from source.projects
where ended_by = 'superseded'
union all by name
select
    'rates' as dataset,
    row_id
from source.rates
where ended_by = 'superseded'
union all by name
select
    'time_logs' as dataset,
    row_id
from source.time_logs
where ended_by = 'superseded'
union all by name
select
    'invoices' as dataset,
    row_id
from source.invoices
where ended_by = 'superseded'
union all by name
select
    'invoice_lines' as dataset,
    row_id
from source.invoice_lines
where ended_by = 'superseded'
