-- The one row that says for which date a run computes; the cycle writes it, so that no view asks the clock.
select null::date as as_of
where false
