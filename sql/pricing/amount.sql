-- One row per eligible time log (row_id): its price in minor units, and that of its seconds over the cap.
-- Everything is a whole number: seconds, and factors in ten-thousandths. One division per amount, half away from zero.
with

factors as (

    select
        hours_cap.*,
        contract.cap_minor,
        contract.discount_factor,
        case when isodow(hours_cap.worked_on) >= 6 then contract.weekend_factor else 10000 end as regular_factor,
        greatest(
            contract.overtime_factor,
            case when isodow(hours_cap.worked_on) >= 6 then contract.weekend_factor else 10000 end
        ) as overtime_factor,
        360000::hugeint * 1000000000000 // contract.minor_factor as divisor
    from pricing.hours_cap
    inner join temp.contract using (contract_id)

),

numerators as (

    select
        *,
        (payable_regular_seconds::hugeint * regular_factor + payable_overtime_seconds::hugeint * overtime_factor)
        * hourly_rate_scaled * discount_factor as numerator,
        case
            when unpaid_regular_seconds + unpaid_overtime_seconds > payable_seconds
                then
                    (
                        (unpaid_regular_seconds - payable_regular_seconds)::hugeint * regular_factor
                        + (unpaid_overtime_seconds - payable_overtime_seconds)::hugeint * overtime_factor
                    ) * hourly_rate_scaled * discount_factor
        end as over_cap_numerator
    from factors

)

select
    * exclude (numerator, over_cap_numerator, divisor),
    ((2 * numerator + divisor) // (2 * divisor))::bigint as amount_minor,
    coalesce((2 * over_cap_numerator + divisor) // (2 * divisor), 0)::bigint as over_cap_seconds_minor
from numerators
