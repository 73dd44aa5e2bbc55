-- One row per trustworthy time log in scope that a rate of its contract matches (row_id).
-- Precedence and rate travel in one number, so that one pass finds the winner and whether it is alone. A precedence
-- counts over all contracts of a run, so the number may need more than 64 bits.
with

matches as (

    select
        log_contract.row_id,
        max(rate.precedence::hugeint * 10000000000000 + rate.hourly_rate_scaled) as highest,
        max(rate.precedence::hugeint * 10000000000000 + 9999999999999 - rate.hourly_rate_scaled) as lowest
    from temp.log_contract
    inner join temp.log_row using (row_id)
    inner join temp.rate
        on
            log_contract.contract_id = rate.contract_id
            and log_contract.rate_on >= rate.valid_from
            and log_contract.rate_on < rate.valid_to
            and (rate.person is null or log_row.person = rate.person)
            and (rate.task is null or log_row.task = rate.task)
            and (rate.role is null or log_row.role = rate.role)
            and (rate.project_id is null or log_row.project_id = rate.project_id)
    where log_contract.is_trusted
    group by log_contract.row_id

)

select
    row_id,
    (highest % 10000000000000)::bigint as hourly_rate_scaled,
    highest % 10000000000000 != 9999999999999 - lowest % 10000000000000 as is_ambiguous
from matches
