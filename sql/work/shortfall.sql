-- One row per time log in scope billed for less than is owed (row_id): how much of the gap is hours, the rest is rate.
select
    row_id,
    case
        when payable_seconds > 0 and billed_seconds < payable_seconds
            then
                least(
                    gap_minor,
                    (2 * expected_minor::hugeint * (payable_seconds - billed_seconds) + payable_seconds)
                    // (2 * payable_seconds)
                )::bigint
        else 0
    end as hours_minor,
    gap_minor - hours_minor as rate_minor
from temp.gap
where gap = 'billed_short'
