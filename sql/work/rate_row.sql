-- One row per live version of a rate in scope (row_id): staging.rates, read once per run.
from staging.rates
