-- One row per live version of an invoice line in scope (row_id): staging.invoice_lines, read once per run.
from staging.invoice_lines
