-- One row per contract a run looks at (contract_id; empty for rows that name none), with its home_hash.
-- The cycle writes it.
select
    null::varchar as contract_id,
    null::integer as home_hash
where false
