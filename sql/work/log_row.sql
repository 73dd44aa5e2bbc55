-- One row per live version of a time log in scope (row_id): staging.time_logs, read once per run.
from staging.time_logs
