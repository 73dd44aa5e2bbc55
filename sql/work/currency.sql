-- One row per currency of ISO 4217 (currency) with its minor unit: decimals, how many minor units make one
-- (minor_factor), one minor unit as an amount (minor_unit), and how many ten-thousandths that is (minor_step).
-- Codes without a minor unit (gold, testing) are left out: nobody bills in them. Codes withdrawn since 2023 (ANG, BGN,
-- HRK, SLL, ZWL) stay in, because contracts and invoices of those years name them.
with

codes as (

    select
        unnest(
            [
                'BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV',
                'XAF', 'XOF', 'XPF'
            ]
        ) as currency,
        0 as decimals
    union all by name
    select
        unnest(
            [
                'AED', 'AFN', 'ALL', 'AMD', 'ANG', 'AOA', 'ARS', 'AUD', 'AWG', 'AZN', 'BAM', 'BBD', 'BDT', 'BGN',
                'BMD', 'BND', 'BOB', 'BOV', 'BRL', 'BSD', 'BTN', 'BWP', 'BYN', 'BZD', 'CAD', 'CDF', 'CHE', 'CHF',
                'CHW', 'CNY', 'COP', 'COU', 'CRC', 'CUP', 'CVE', 'CZK', 'DKK', 'DOP', 'DZD', 'EGP', 'ERN', 'ETB',
                'EUR', 'FJD', 'FKP', 'GBP', 'GEL', 'GHS', 'GIP', 'GMD', 'GTQ', 'GYD', 'HKD', 'HNL', 'HRK', 'HTG',
                'HUF', 'IDR', 'ILS', 'INR', 'IRR', 'JMD', 'KES', 'KGS', 'KHR', 'KPW', 'KYD', 'KZT', 'LAK', 'LBP',
                'LKR', 'LRD', 'LSL', 'MAD', 'MDL', 'MGA', 'MKD', 'MMK', 'MNT', 'MOP', 'MRU', 'MUR', 'MVR', 'MWK',
                'MXN', 'MXV', 'MYR', 'MZN', 'NAD', 'NGN', 'NIO', 'NOK', 'NPR', 'NZD', 'PAB', 'PEN', 'PGK', 'PHP',
                'PKR', 'PLN', 'QAR', 'RON', 'RSD', 'RUB', 'SAR', 'SBD', 'SCR', 'SDG', 'SEK', 'SGD', 'SHP', 'SLE',
                'SLL', 'SOS', 'SRD', 'SSP', 'STN', 'SVC', 'SYP', 'SZL', 'THB', 'TJS', 'TMT', 'TOP', 'TRY', 'TTD', 'TWD',
                'TZS', 'UAH', 'USD', 'USN', 'UYU', 'UZS', 'VED', 'VES', 'WST', 'XAD', 'XCD', 'XCG', 'YER', 'ZAR',
                'ZMW', 'ZWG', 'ZWL'
            ]
        ) as currency,
        2 as decimals
    union all by name
    select
        unnest(
            [
                'BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'
            ]
        ) as currency,
        3 as decimals
    union all by name
    select
        unnest(
            [
                'CLF', 'UYW'
            ]
        ) as currency,
        4 as decimals

)

select
    currency,
    decimals,
    (10 ^ decimals)::integer as minor_factor,
    (10 ^ (4 - decimals))::integer as minor_step,
    case decimals when 0 then 1 when 2 then 0.01 when 3 then 0.001 else 0.0001 end::decimal(5, 4) as minor_unit
from codes
