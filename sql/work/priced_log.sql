-- One row per eligible time log in scope (row_id) with every step of the pricing chain.
from pricing.money_cap
