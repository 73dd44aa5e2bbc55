-- One row per invoice a run looks at (invoice_id; empty for rows that name none), with its home_hash.
-- The cycle writes it.
select
    null::varchar as invoice_id,
    null::integer as home_hash
where false
