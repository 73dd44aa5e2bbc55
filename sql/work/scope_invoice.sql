-- One row per invoice a run looks at (invoice_id; empty for rows that name none). The cycle writes it.
select null::varchar as invoice_id
where false
