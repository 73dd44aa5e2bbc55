-- One row per project a run looks at (project_id; empty for rows that name none). The cycle writes it.
select null::varchar as project_id
where false
