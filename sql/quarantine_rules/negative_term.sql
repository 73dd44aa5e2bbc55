-- A contract has a negative amount, minutes, days or percent, or a multiplier not above 0; or a rate is negative.
select
    'contracts' as dataset,
    row_id,
    concat_ws(
        ', ',
        case when rounding_minutes < 0 then 'rounding_minutes' end,
        case when minimum_minutes < 0 then 'minimum_minutes' end,
        case when overtime_after_minutes < 0 then 'overtime_after_minutes' end,
        case when overtime_multiplier <= 0 then 'overtime_multiplier' end,
        case when weekend_multiplier <= 0 then 'weekend_multiplier' end,
        case when prepaid_minutes < 0 then 'prepaid_minutes' end,
        case when cap_minutes < 0 then 'cap_minutes' end,
        case when cap_amount < 0 then 'cap_amount' end,
        case when discount_percent < 0 then 'discount_percent' end,
        case when grace_days < 0 then 'grace_days' end,
        case when threshold_amount < 0 then 'threshold_amount' end
    ) as detail
from temp.contract_row
where
    rounding_minutes < 0
    or minimum_minutes < 0
    or overtime_after_minutes < 0
    or overtime_multiplier <= 0
    or weekend_multiplier <= 0
    or prepaid_minutes < 0
    or cap_minutes < 0
    or cap_amount < 0
    or discount_percent < 0
    or grace_days < 0
    or threshold_amount < 0
union all by name
select
    'rates' as dataset,
    row_id,
    'hourly_rate' as detail
from temp.rate_row
where hourly_rate < 0
