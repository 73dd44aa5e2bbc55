-- One row per live version of a contract in scope that has an id (precedence), with the days it is in force.
-- A blank or unreadable start is since ever, a blank or unreadable end is open.
select
    contract_id,
    coalesce(starts_on, date '0001-01-01') as starts_on,
    coalesce(ends_on, date '9999-12-31') as ends_on,
    -- The latest start wins, then the greatest id.
    row_number() over (order by starts_on nulls first, contract_id) as precedence
from temp.contract_row
where contract_id is not null
