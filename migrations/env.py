"""Alembic environment. Tables are migrated by hand; views are frozen from sql/ when a revision is made."""

from alembic import context
from alembic.ddl.impl import DefaultImpl
from alembic.operations import MigrateOperation, Operations
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from abr import views
from abr.settings import Settings


class DuckDBImpl(DefaultImpl):
    """Tells Alembic that DuckDB rolls DDL back like everything else."""

    __dialect__ = "duckdb"
    transactional_ddl = True


@Operations.register_operation("replace_views")
class ReplaceViews(MigrateOperation):
    """op.replace_views({name: select or None}): leave the database with these views; None drops one."""

    def __init__(self, definitions):
        self.definitions = definitions

    @classmethod
    def replace_views(cls, operations, definitions):
        """Run the operation."""
        return operations.invoke(cls(definitions))


@Operations.implementation_for(ReplaceViews)
def replace_views(operations, operation):
    """Create and drop the views; the temporary tables that later views read must exist meanwhile."""
    connection = operations.get_bind()
    views.create_work_tables(connection)
    # Driver SQL, because text() would read ':word' inside a view as a bind parameter; one text, because
    # hundreds of statements by themselves make a new database take a quarter longer.
    connection.exec_driver_sql("\n;\n".join(views.ddl(operation.definitions)))


def freeze_changed_views(_migration_context, _revision, _directives):
    """Write the old and new text of every changed view into the new migration."""
    old = views.frozen(ScriptDirectory.from_config(context.config))
    new = views.load()
    context.config.attributes["VIEWS"] = views.changes(old, new)
    context.config.attributes["PREVIOUS_VIEWS"] = views.changes(new, old)


def run(connection):
    """Run the migrations on a connection, in one transaction."""
    context.configure(connection=connection, process_revision_directives=freeze_changed_views)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(Settings().database_url).connect() as own:
        run(own)
