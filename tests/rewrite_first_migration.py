"""Rewrite the first migration from abr/models.py and sql/: python -m tests.rewrite_first_migration

Until the first tagged release there is one migration, rewritten in place. After that this file goes, and changes come
as new migrations: tables by hand, views frozen by `alembic revision -m "..."`.
"""

from sqlalchemy import create_engine
from sqlalchemy.schema import CreateTable, SetColumnComment, SetTableComment

from abr import views
from abr.models import MACROS, METADATA, SCHEMAS

REVISION = "7d1c0a4e92b5"
PATH = views.packaged("migrations") / "versions" / f"{REVISION}_first_schema.py"

HEADER = '''"""The first schema: tables in source and audit, and the views that compute everything from them.

Revision ID: {revision}
Revises:
"""

from alembic import op

revision = "{revision}"
down_revision = None

SCHEMAS = (
{schemas})

TABLES = (
{tables})

COMMENTS = (
{comments})

MACROS = (
{macros})

VIEWS = {{
{views}}}


def upgrade() -> None:
    connection = op.get_bind()
    schemas = (f"create schema {{schema}}" for schema in SCHEMAS)
    connection.exec_driver_sql("\\n;\\n".join((*schemas, *TABLES, *COMMENTS, *MACROS)))
    op.replace_views(VIEWS)


def downgrade() -> None:
    connection = op.get_bind()
    op.replace_views(dict.fromkeys(VIEWS))
    for schema in reversed(SCHEMAS):
        connection.exec_driver_sql(f"drop schema {{schema}} cascade")
'''


def text() -> str:
    """Return the first migration as it should be."""
    engine = create_engine("duckdb:///:memory:")
    tables = list(METADATA.sorted_tables)
    statements = [str(CreateTable(table).compile(engine)).replace("\t", "    ").strip() for table in tables]
    comments = [str(SetTableComment(table).compile(engine)) for table in tables]
    comments += [
        str(SetColumnComment(column).compile(engine)) for table in tables for column in table.columns if column.comment
    ]
    return HEADER.format(
        revision=REVISION,
        schemas="".join(f'    "{schema}",\n' for schema in SCHEMAS),
        tables="".join('    """\\\n' + "\n".join(map(str.rstrip, sql.splitlines())) + '""",\n' for sql in statements),
        comments="".join(f'    """{sql}""",\n' for sql in comments),
        macros="".join(f'    """create macro {name}{text}""",\n' for name, text in MACROS.items()),
        views="".join(f'    "{name}": """\\\n{sql}""",\n' for name, sql in views.load().items()),
    )


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(text(), "utf-8")
    print(PATH.name)
