"""Alembic's entry: runs the migrations inside the transaction of the connection that db.database hands over."""

from alembic import context

from db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a column in place.
    render_as_batch=True,
)
context.run_migrations()
