-- One row per contract a run looks at (contract_id; empty for rows that name none). The cycle writes it.
select null::varchar as contract_id
where false
