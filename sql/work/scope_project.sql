-- One row per project a run looks at (project_id; empty for rows that name none), with its home_hash.
-- The cycle writes it.
select
    null::varchar as project_id,
    null::integer as home_hash
where false
