-- One row per time log in scope whose project has a contract in force on its day (row_id).
from matching.contract_in_force
