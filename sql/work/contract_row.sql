-- One row per live version of a contract in scope (row_id): staging.contracts, read once per run.
-- An amount with more decimals than its currency has cannot be read: it moves to odd_cells. Where the currency is
-- unknown there is no limit: of more than four decimals the column holds four, and never loses its sign.
with

judged as (

    select
        contracts.*,
        currency.currency is null as is_unlimited,
        coalesce(source.ten_thousandths(contracts.cap_amount) % currency.minor_step != 0, false) as is_cap_odd,
        coalesce(source.ten_thousandths(contracts.threshold_amount) % currency.minor_step != 0, false)
            as is_threshold_odd,
        json_extract_string(contracts.odd_cells, 'cap_amount') as odd_cap,
        json_extract_string(contracts.odd_cells, 'threshold_amount') as odd_threshold
    from staging.contracts
    left join temp.currency using (currency)

)

select
    * exclude (is_unlimited, is_cap_odd, is_threshold_odd, odd_cap, odd_threshold)
    replace (
        case
            when is_cap_odd then null
            when is_unlimited and source.is_number(odd_cap) then source.in_four_decimals(odd_cap)
            else cap_amount
        end as cap_amount,
        case
            when is_threshold_odd then null
            when is_unlimited and source.is_number(odd_threshold) then source.in_four_decimals(odd_threshold)
            else threshold_amount
        end as threshold_amount,
        case
            when is_cap_odd or is_threshold_odd
                then
                    json_merge_patch(
                        coalesce(odd_cells, '{}'),
                        case
                            when is_cap_odd
                                then json_object('cap_amount', trim(json_extract_string(raw, 'cap_amount')))
                            else '{}'
                        end,
                        case
                            when is_threshold_odd
                                then json_object('threshold_amount', trim(json_extract_string(raw, 'threshold_amount')))
                            else '{}'
                        end
                    )::varchar
            else odd_cells
        end as odd_cells
    )
from judged
