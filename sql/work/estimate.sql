-- One row per time log in scope outside the pricing chain that may be worth something (row_id).
from billing.estimate
