-- One row per open finding of a contract in scope (finding_id), as the newest run stored it. is_looked_at: whether this
-- run finds it again if it still holds; the others, from before from_day, stay as they are. Of lines a run of later
-- weeks reads all that match no time log, of pools those that reach into these weeks.
select
    finding_open.*,
    scope_contract.from_day = '-infinity'
    or finding_open.about like 'line:%'
    or pool.about is not null
    or coalesce(finding_open.worked_on >= scope_contract.from_day, false) as is_looked_at
from audit.finding_open
inner join temp.scope_contract using (contract_id)
left join temp.pool on finding_open.contract_id = pool.contract_id and finding_open.about = pool.about
where
    source.is_in_scope(finding_open.home_hash)
