-- One row per row in scope and reason (dataset, row_id, reason), its own ones and those of the rows it refers to.
from temp.own_reason
union all by name
select
    rule_name as reason,
    dataset,
    row_id,
    detail
from reference_rules.all_rules
