-- One row per live version of a contract in scope (row_id): staging.contracts, read once per run.
from staging.contracts
