-- One row per eligible time log in scope that a pool bills (row_id).
from billing.pooled_log
