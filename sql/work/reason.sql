-- One row per row in scope and reason to be in quarantine (dataset, row_id, reason): all of them, also those a time log
-- gets because no valid contract or no single rate covers it.
from temp.row_reason
union all by name
select
    rule_name as reason,
    dataset,
    row_id,
    detail
from coverage_rules.all_rules
