-- One row per contract in scope (contract_id): its terms with defaults, those of the version that starts last,
-- and whether it may be billed by (is_valid: no version of it has a reason to be in quarantine).
with

given as (

    select
        *,
        -- The cells as given decide between versions that start on the same day.
        concat_ws(
            '|',
            coalesce(json_extract_string(raw, 'contract_id'), ''),
            coalesce(json_extract_string(raw, 'client'), ''),
            coalesce(json_extract_string(raw, 'currency'), ''),
            coalesce(json_extract_string(raw, 'billing_model'), ''),
            coalesce(json_extract_string(raw, 'starts_on'), ''),
            coalesce(json_extract_string(raw, 'ends_on'), ''),
            coalesce(json_extract_string(raw, 'rounding_minutes'), ''),
            coalesce(json_extract_string(raw, 'rounding_mode'), ''),
            coalesce(json_extract_string(raw, 'rounding_unit'), ''),
            coalesce(json_extract_string(raw, 'minimum_minutes'), ''),
            coalesce(json_extract_string(raw, 'overtime_after_minutes'), ''),
            coalesce(json_extract_string(raw, 'overtime_multiplier'), ''),
            coalesce(json_extract_string(raw, 'weekend_multiplier'), ''),
            coalesce(json_extract_string(raw, 'prepaid_minutes'), ''),
            coalesce(json_extract_string(raw, 'prepaid_period'), ''),
            coalesce(json_extract_string(raw, 'cap_minutes'), ''),
            coalesce(json_extract_string(raw, 'cap_amount'), ''),
            coalesce(json_extract_string(raw, 'cap_period'), ''),
            coalesce(json_extract_string(raw, 'discount_percent'), ''),
            coalesce(json_extract_string(raw, 'grace_days'), ''),
            coalesce(json_extract_string(raw, 'grace_from'), ''),
            coalesce(json_extract_string(raw, 'threshold_amount'), '')
        ) as row_text
    from temp.contract_row
    where contract_id is not null

),

ranked as (

    select
        *,
        -- Without partitions, as in work.rate.
        coalesce(
            lag(contract_id) over (order by contract_id, starts_on desc nulls last, row_text desc) != contract_id, true
        ) as is_last
    from given

),

invalid as (

    select distinct contract_row.contract_id
    from temp.contract_row
    inner join temp.row_reason on contract_row.row_id = row_reason.row_id and row_reason.dataset = 'contracts'

)

select
    ranked.contract_id,
    ranked.client,
    ranked.currency,
    case ranked.billing_model when 'fixed_price' then 'fixed_price' else 'time_and_materials' end as billing_model,
    invalid.contract_id is null as is_valid,
    coalesce(ranked.rounding_minutes, 0) * 60 as rounding_seconds,
    coalesce(ranked.rounding_mode, 'up') as rounding_mode,
    coalesce(ranked.rounding_unit, 'entry') as rounding_unit,
    coalesce(ranked.minimum_minutes, 0) * 60 as minimum_seconds,
    ranked.overtime_after_minutes * 60 as overtime_after_seconds,
    (coalesce(ranked.overtime_multiplier, 1) * 10000)::bigint as overtime_factor,
    (coalesce(ranked.weekend_multiplier, 1) * 10000)::bigint as weekend_factor,
    coalesce(ranked.prepaid_minutes, 0) * 60 as prepaid_seconds,
    coalesce(ranked.prepaid_period, 'lifetime') as prepaid_period,
    ranked.cap_minutes * 60 as cap_seconds,
    source.ten_thousandths(ranked.cap_amount) // currency.minor_step as cap_minor,
    coalesce(ranked.cap_period, 'lifetime') as cap_period,
    (1000000 - coalesce(ranked.discount_percent, 0) * 10000)::bigint as discount_factor,
    -- Beyond this many days every due date lies beyond the calendar. A contract with fewer than none is not valid.
    greatest(least(coalesce(ranked.grace_days, 0), 4000000), -4000000)::integer as grace_days,
    coalesce(ranked.grace_from, 'worked_on') as grace_from,
    coalesce(
        ranked.threshold_amount,
        own_threshold.threshold_amount,
        (select threshold_amount from temp.threshold where threshold.currency is null)
    ) as threshold_amount,
    -- Where the currency is unknown nothing is priced.
    coalesce(currency.minor_step, 100) as minor_step,
    coalesce(currency.minor_factor, 100) as minor_factor,
    coalesce(currency.minor_unit, 0.01) as minor_unit
from ranked
left join temp.currency on ranked.currency = currency.currency
left join temp.threshold as own_threshold on ranked.currency = own_threshold.currency
left join invalid on ranked.contract_id = invalid.contract_id
where ranked.is_last
