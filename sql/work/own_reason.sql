-- One row per row in scope and reason that the row's own cells and keys give (dataset, row_id, reason).
select
    rule_name as reason,
    dataset,
    row_id,
    detail
from quarantine_rules.all_rules
