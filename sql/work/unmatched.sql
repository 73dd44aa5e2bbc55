-- One row per sum in scope billed for no eligible log (contract_id, about).
from billing.unmatched
