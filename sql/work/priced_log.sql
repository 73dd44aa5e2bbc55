-- One row per eligible time log in scope (row_id): what the pricing chain says is owed for it.
-- Only what later steps read is kept: writing a table costs by the column. pricing.money_cap has every step.
select
    row_id,
    contract_id,
    place,
    worked_on,
    worked_month,
    rounded_seconds,
    payable_seconds,
    unpaid_regular_seconds + unpaid_overtime_seconds - payable_seconds as over_cap_seconds,
    amount_minor,
    expected_minor,
    over_cap_minor
from pricing.money_cap
