-- One row per currency with a threshold of its own in the settings (currency), and one without a currency for all
-- others. The cycle writes it.
select
    null::varchar as currency,
    null::decimal(18, 4) as threshold_amount
where false
