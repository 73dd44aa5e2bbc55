-- One row per live version of an invoice in scope (row_id): staging.invoices, read once per run.
from staging.invoices
