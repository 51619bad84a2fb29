"""What happened to a run, the process that trains it, and what conversations, comparisons and votes need."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _runs()
    _conversations()
    _comparisons()


def _runs() -> None:
    op.add_column("training_runs", sa.Column("process_id", sa.Integer(), nullable=True))
    op.add_column("training_runs", sa.Column("host", sa.Text(), nullable=True))
    op.create_index("ix_training_runs_base_model_created_at", "training_runs", ["base_model", "created_at"])
    op.create_table(
        "run_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run_events"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["training_runs.id"], name="fk_run_events_run_id_training_runs", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_run_events_run_id", "run_events", ["run_id"])


def _conversations() -> None:
    op.add_column(
        "conversations", sa.Column("system_prompt", sa.Text(), nullable=False, server_default=sa.text("''"))
    )
    op.add_column("conversations", sa.Column("active_message_id", sa.Integer(), nullable=True))
    op.add_column("conversations", sa.Column("deleted_at", sa.DateTime(), nullable=True))
    op.create_index("ix_conversations_deleted_at_updated_at", "conversations", ["deleted_at", "updated_at"])
    op.add_column("messages", sa.Column("expected", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("with_history", sa.Boolean(), nullable=False, server_default=sa.text("1")))


def _comparisons() -> None:
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_comparisons"),
    )
    op.create_index("ix_comparisons_created_at", "comparisons", ["created_at"])
    op.create_table(
        "votes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("comparison_prompt", sa.Text(), nullable=False),
        sa.Column("system_prompt", sa.Text(), nullable=False),
        sa.Column("chosen_label", sa.Text(), nullable=False),
        sa.Column("rejected_label", sa.Text(), nullable=False),
        sa.Column("chosen_text", sa.Text(), nullable=False),
        sa.Column("rejected_text", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("chosen_adapter", sa.JSON(), nullable=True),
        sa.Column("rejected_adapter", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_votes"),
    )
    op.create_index("ix_votes_created_at", "votes", ["created_at"])
    op.create_table(
        "prompt_templates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prompt_templates"),
        sa.UniqueConstraint("name", name="uq_prompt_templates_name"),
    )
