-- One row per live version of a project in scope (row_id): staging.projects, read once per run.
from staging.projects
