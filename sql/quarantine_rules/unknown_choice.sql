-- A cell that takes one of a few words holds another one.
select
    'contracts' as dataset,
    row_id,
    concat_ws(
        ', ',
        case when billing_model not in ('time_and_materials', 'fixed_price') then 'billing_model' end,
        case when rounding_mode not in ('up', 'nearest', 'down') then 'rounding_mode' end,
        case when rounding_unit not in ('entry', 'day') then 'rounding_unit' end,
        case when prepaid_period not in ('lifetime', 'month') then 'prepaid_period' end,
        case when cap_period not in ('lifetime', 'month') then 'cap_period' end,
        case when grace_from not in ('worked_on', 'month_end') then 'grace_from' end
    ) as detail
from temp.contract_row
where
    billing_model not in ('time_and_materials', 'fixed_price')
    or rounding_mode not in ('up', 'nearest', 'down')
    or rounding_unit not in ('entry', 'day')
    or prepaid_period not in ('lifetime', 'month')
    or cap_period not in ('lifetime', 'month')
    or grace_from not in ('worked_on', 'month_end')
union all by name
select
    'invoices' as dataset,
    row_id,
    'status' as detail
from temp.invoice_row
where status not in ('draft', 'issued', 'paid', 'void')
union all by name
select
    'invoice_lines' as dataset,
    row_id,
    'kind' as detail
from temp.line_row
where kind not in ('time', 'expense', 'fixed', 'prepaid', 'other')
