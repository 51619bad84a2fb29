"""Conversations and their messages."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Conversation, Message, MessageStatus, utc_now
from errors import NotFoundError


def create(
    session: Session,
    *,
    title: str,
    base_model: str,
    adapter_path: str | None = None,
    run_id: int | None = None,
    use_case: str | None = None,
    settings: dict[str, Any] | None = None,
) -> Conversation:
    """A new, empty conversation, with its id."""
    conversation = Conversation(
        title=title,
        base_model=base_model,
        adapter_path=adapter_path,
        run_id=run_id,
        use_case=use_case,
        settings=settings or {},
    )
    session.add(conversation)
    session.flush()
    return conversation


def find_or_raise(session: Session, conversation_id: int) -> Conversation:
    """The conversation of this number. Raises NotFoundError."""
    conversation = session.get(Conversation, conversation_id)
    if conversation is None:
        raise NotFoundError(f"There is no conversation of number {conversation_id}.", "It may have been deleted.")
    return conversation


def add_message(
    session: Session,
    conversation_id: int,
    *,
    role: str,
    content: str,
    parent_id: int | None = None,
    status: MessageStatus = MessageStatus.COMPLETE,
    made_by: dict[str, Any] | None = None,
) -> Message:
    """Adds a message after ``parent_id`` (None = as the first of a conversation). Raises NotFoundError."""
    find_or_raise(session, conversation_id).updated_at = utc_now()
    message = Message(
        conversation_id=conversation_id,
        parent_id=parent_id,
        role=role,
        content=content,
        status=status,
        made_by=made_by,
    )
    session.add(message)
    session.flush()
    return message


def update_message(
    session: Session,
    message_id: int,
    *,
    content: str,
    status: MessageStatus,
    made_by: dict[str, Any] | None = None,
) -> Message:
    """Writes an answer as far as it has come. ``made_by`` None keeps what is recorded. Raises NotFoundError."""
    message = session.get(Message, message_id)
    if message is None:
        raise NotFoundError(f"There is no message of number {message_id}.", "Its conversation may have been deleted.")
    message.content = content
    message.status = status
    if made_by is not None:
        message.made_by = made_by
    find_or_raise(session, message.conversation_id).updated_at = utc_now()
    session.flush()
    return message


def list_recent(
    session: Session, limit: int = 100, offset: int = 0, search: str | None = None
) -> Sequence[Conversation]:
    """Conversations, the one last changed first, with ``search`` in the title."""
    wanted = select(Conversation)
    if search and search.strip():
        wanted = wanted.where(Conversation.title.icontains(search.strip(), autoescape=True))
    last_changed_first = wanted.order_by(Conversation.updated_at.desc(), Conversation.id.desc())
    return session.scalars(last_changed_first.limit(limit).offset(offset)).all()


def list_messages(session: Session, conversation_id: int) -> Sequence[Message]:
    """All messages in the order they were written, forks included."""
    of_conversation = select(Message).where(Message.conversation_id == conversation_id)
    return session.scalars(of_conversation.order_by(Message.id)).all()


def rename(session: Session, conversation_id: int, title: str) -> Conversation:
    """Gives a conversation another title. Raises NotFoundError."""
    conversation = find_or_raise(session, conversation_id)
    conversation.title = title
    session.flush()
    return conversation


def delete(session: Session, conversation_id: int) -> None:
    """Removes a conversation with its messages. Raises NotFoundError."""
    session.delete(find_or_raise(session, conversation_id))
    session.flush()
