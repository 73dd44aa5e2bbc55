-- A rate ends before or on the day it starts.
select
    'rates' as dataset,
    row_id,
    valid_from || ' to ' || valid_to as detail
from temp.rate_row
where valid_to <= valid_from
