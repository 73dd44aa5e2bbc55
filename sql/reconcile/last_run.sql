-- The newest run that was not halted: one row, or none before the first run.
select
    max(run_id) as run_id,
    arg_max(as_of, run_id) as as_of
from audit.run
where status = 'ok'
having max(run_id) is not null
