-- The one row that says for which date a run computes, and which run it is, where it is one that is recorded; the cycle
-- writes it, so that no view asks the clock.
select
    null::date as as_of,
    null::bigint as run_id
where false
