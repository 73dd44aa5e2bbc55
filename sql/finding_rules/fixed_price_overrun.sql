-- Work beyond the cap of a fixed-price contract, estimated.
select
    'exposure' as side,
    contract_id,
    'log:' || time_log_id as about,
    row_id,
    seconds,
    amount_minor
from temp.estimate
where class = 'fixed_price_overrun'
