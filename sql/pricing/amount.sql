-- One row per eligible time log (row_id): its price in minor units, and that of its seconds over the cap.
-- Everything is a whole number: seconds, and factors in ten-thousandths. One division per amount, half away from zero.
with

-- price = seconds x factor x rate x discount_factor / divisor, in lowest terms, because DuckDB divides numbers of up to
-- 18 digits fifty times faster than longer ones.
terms as (

    select
        contract_id,
        cap_minor,
        discount_factor,
        weekend_factor,
        overtime_factor,
        gcd(10000, gcd(overtime_factor, weekend_factor)) as common_factor,
        360000::hugeint * 1000000000000 // minor_factor // common_factor as whole_divisor,
        gcd(discount_factor::hugeint, whole_divisor) as common_divisor,
        discount_factor::hugeint // common_divisor as short_discount_factor,
        whole_divisor // common_divisor as divisor
    from temp.contract

),

factors as (

    select
        hours_cap.*,
        terms.cap_minor,
        terms.discount_factor,
        terms.common_factor,
        terms.short_discount_factor,
        terms.divisor,
        case when isodow(hours_cap.worked_on) >= 6 then terms.weekend_factor else 10000 end as regular_factor,
        greatest(terms.overtime_factor, regular_factor) as overtime_factor
    from pricing.hours_cap
    inner join terms using (contract_id)

),

numerators as (

    select
        *,
        (
            payable_regular_seconds::hugeint * (regular_factor // common_factor)
            + payable_overtime_seconds::hugeint * (overtime_factor // common_factor)
        ) * hourly_rate_scaled * short_discount_factor as numerator,
        case
            when unpaid_regular_seconds + unpaid_overtime_seconds > payable_seconds
                then
                    (
                        (unpaid_regular_seconds - payable_regular_seconds)::hugeint * (regular_factor // common_factor)
                        + (unpaid_overtime_seconds - payable_overtime_seconds)::hugeint
                        * (overtime_factor // common_factor)
                    ) * hourly_rate_scaled * short_discount_factor
        end as over_cap_numerator
    from factors

)

select
    * exclude (numerator, over_cap_numerator, divisor, common_factor, short_discount_factor),
    case
        when numerator < 4000000000000000000 and divisor < 1000000000000000000
            then (2 * numerator + divisor)::bigint // (2 * divisor)::bigint
        else ((2 * numerator + divisor) // (2 * divisor))::bigint
    end as amount_minor,
    coalesce((2 * over_cap_numerator + divisor) // (2 * divisor), 0)::bigint as over_cap_seconds_minor
from numerators
