"""The tables of a workspace, as typed SQLAlchemy classes.

There are no relationships: the functions beside this file fetch rows; nothing loads itself behind a screen's back.
Every constraint has a name, because Alembic rebuilds SQLite tables and must be able to say which one it means.
"""

import datetime as dt
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Enum, ForeignKey, Index, MetaData, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A point in time: stored in UTC, timezone-aware when read back. A naive time is refused."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a stored time needs a timezone: {value!r}")
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        return None if value is None else value.replace(tzinfo=dt.UTC)


def utc_now() -> dt.datetime:
    """Now, timezone-aware."""
    return dt.datetime.now(dt.UTC)


class RunStatus(StrEnum):
    """How far a training run is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class RunSource(StrEnum):
    """How a run got into the list."""

    TRACKED = "tracked"
    IMPORTED = "imported"
    SCANNED = "scanned"
    DEMO = "demo"


class EventKind(StrEnum):
    """What happened to a run."""

    STARTED = "started"
    CHECKPOINT = "checkpoint"
    ADAPTER = "adapter"
    FINISHED = "finished"
    FAILED = "failed"
    ADDED = "added"
    BASE_LOCATED = "base_located"
    RENAMED = "renamed"


class MessageStatus(StrEnum):
    """How an answer ended. A message of the user is always complete."""

    STREAMING = "streaming"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


def _stored_by_value(enum: type[StrEnum]) -> Enum:
    # Text without a CHECK: a new member then needs no rebuilt table.
    return Enum(
        enum, native_enum=False, length=16, values_callable=lambda members: [member.value for member in members]
    )


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        str: Text,
        dt.datetime: UtcDateTime,
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
        RunStatus: _stored_by_value(RunStatus),
        RunSource: _stored_by_value(RunSource),
        MessageStatus: _stored_by_value(MessageStatus),
    }


class TrainingRun(Base):
    """One fine-tuning run, or an adapter folder that was added as one.

    ``adapter_path``: the folder with adapter_config.json, None until there is one. ``output_dir``: the folder that
    holds it and its checkpoints. ``heartbeat_at``: the last sign of life of a tracked, running training, which is the
    process ``process_id`` on ``host``.
    """

    __tablename__ = "training_runs"
    __table_args__ = (
        Index(None, "created_at"),
        Index(None, "base_model", "created_at"),
        Index(None, "status", "created_at"),
        Index(None, "status", "finished_at"),
        # The number of a removed run, which a command line may still name, is not given to another.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    status: Mapped[RunStatus]
    base_model: Mapped[str]
    adapter_path: Mapped[str | None] = mapped_column(index=True)
    output_dir: Mapped[str | None]
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    hyperparameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None]
    source: Mapped[RunSource]
    notes: Mapped[str] = mapped_column(default="")
    heartbeat_at: Mapped[dt.datetime | None]
    process_id: Mapped[int | None]
    host: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]


class TrainingMetric(Base):
    """One number at one step; one per run, name and step, so that a resumed training writes over its own past.

    ``value`` is None where the training reported NaN (SQLite has none).
    """

    __tablename__ = "training_metrics"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[int] = mapped_column(ForeignKey("training_runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[float | None]
    value: Mapped[float | None]
    recorded_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class Checkpoint(Base):
    """An adapter saved on the way, usable like a final one."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("run_id", "path"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("training_runs.id", ondelete="CASCADE"))
    step: Mapped[int]
    path: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class RunEvent(Base):
    """One line in the log of what happened to a run. ``kind``: an EventKind."""

    __tablename__ = "run_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("training_runs.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    text: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class Dataset(Base):
    """A saved dataset. ``source``: where it came from; ``format``: how its rows were written there."""

    __tablename__ = "datasets"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str]
    format: Mapped[str]
    row_count: Mapped[int]
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now, index=True)


class DatasetRow(Base):
    """One example. Positions of a dataset run from 0 to row_count - 1 without a gap; sampling relies on it.

    ``messages``: the whole conversation where there is more to it than system, prompt and response; else None.
    """

    __tablename__ = "dataset_rows"
    __table_args__ = (UniqueConstraint("dataset_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    position: Mapped[int]
    prompt: Mapped[str]
    response: Mapped[str]
    system: Mapped[str | None]
    messages: Mapped[list[dict[str, Any]] | None]


class Conversation(Base):
    """A chat. It remembers which model answered, even after the run has left the list.

    ``active_message_id``: the last message of the branch that is shown, None = the newest. ``deleted_at``: when the
    user deleted it, for as long as that can be undone.
    """

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "deleted_at", "updated_at"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    use_case: Mapped[str | None]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("training_runs.id", ondelete="SET NULL"), index=True)
    base_model: Mapped[str] = mapped_column(index=True)
    adapter_path: Mapped[str | None] = mapped_column(index=True)
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    system_prompt: Mapped[str] = mapped_column(default="", server_default=text("''"))
    active_message_id: Mapped[int | None]
    deleted_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now, index=True)


class Message(Base):
    """One message. ``parent_id`` is the message it follows (None = the first), so that a conversation can fork.

    ``made_by``: what made an answer (model, settings, seed, token counts, times); None for the user's own.
    ``expected``: the answer that a dataset gives to this prompt. ``with_history``: whether what was said before went
    along with it.
    """

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    role: Mapped[str]
    content: Mapped[str]
    status: Mapped[MessageStatus] = mapped_column(default=MessageStatus.COMPLETE)
    made_by: Mapped[dict[str, Any] | None]
    expected: Mapped[str | None]
    with_history: Mapped[bool] = mapped_column(default=True, server_default=text("1"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class Comparison(Base):
    """One prompt answered side by side. ``columns``: what answered, ``answers``: the same order. ``kept``: saved."""

    __tablename__ = "comparisons"

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now, index=True)
    prompt: Mapped[str]
    columns: Mapped[list[dict[str, Any]]]
    answers: Mapped[list[dict[str, Any]]]
    kept: Mapped[bool] = mapped_column(default=False)


class Vote(Base):
    """Which of two answers the user preferred. ``outcome``: "a", "b" or "tie"; the adapters as they were then."""

    __tablename__ = "votes"

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now, index=True)
    comparison_prompt: Mapped[str]
    system_prompt: Mapped[str] = mapped_column(default="")
    chosen_label: Mapped[str]
    rejected_label: Mapped[str]
    chosen_text: Mapped[str]
    rejected_text: Mapped[str]
    outcome: Mapped[str]
    chosen_adapter: Mapped[dict[str, Any] | None]
    rejected_adapter: Mapped[dict[str, Any] | None]


class PromptTemplate(Base):
    """A prompt the user keeps under a name. ``kind``: what it is for."""

    __tablename__ = "prompt_templates"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    text: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class Preset(Base):
    """Generation settings under a name of the user's own."""

    __tablename__ = "presets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class Setting(Base):
    """One remembered choice of the user, by key."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JSON, nullable=False)
