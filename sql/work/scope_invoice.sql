-- One row per invoice a run looks at (invoice_id; empty for rows that name none), with its home_hash.
-- from_day: the run looks at time logs from that day on, the first of a week (see balance), and what was before is as
-- it was; -infinity where it looks at all of them. The cycle writes it.
select
    null::varchar as invoice_id,
    null::integer as home_hash,
    null::date as from_day
where false
