"""Conversations and messages."""

import pytest

from db import conversations
from db.database import Database
from db.models import MessageStatus
from errors import NotFoundError


def test_messages_keep_their_order_parents_and_what_made_them(database: Database) -> None:
    made_by = {"seed": 7, "model": {"base": "demo"}, "seconds": 0.25}
    with database.session_scope() as session:
        chat = conversations.create(session, title="Parrots", base_model="base", settings={"temperature": 0})
        question = conversations.add_message(session, chat.id, role="user", content="Hi 🦜")
        for answer in ("Ahoy", "Arr"):
            conversations.add_message(
                session, chat.id, role="assistant", content=answer, parent_id=question.id, made_by=made_by
            )
    with database.read_scope() as session:
        found = conversations.list_messages(session, chat.id)
        assert conversations.find_or_raise(session, chat.id).settings == {"temperature": 0}
    assert [message.content for message in found] == ["Hi 🦜", "Ahoy", "Arr"]
    assert [message.parent_id for message in found] == [None, question.id, question.id]
    assert [message.made_by for message in found] == [None, made_by, made_by]


def test_an_answer_is_written_as_far_as_it_has_come(database: Database) -> None:
    with database.session_scope() as session:
        chat = conversations.create(session, title="chat", base_model="base")
        answer = conversations.add_message(
            session, chat.id, role="assistant", content="", status=MessageStatus.STREAMING, made_by={"seed": 1}
        )
    for content, status in (("Once", MessageStatus.STREAMING), ("Once upon", MessageStatus.STOPPED)):
        with database.session_scope() as session:
            conversations.update_message(session, answer.id, content=content, status=status)
        with database.read_scope() as session:
            found = conversations.list_messages(session, chat.id)[0]
            assert (found.content, found.status, found.made_by) == (content, status, {"seed": 1})


def test_the_conversation_that_changed_last_comes_first(database: Database) -> None:
    with database.session_scope() as session:
        first, second = (conversations.create(session, title=title, base_model="b") for title in ("One", "Two"))
        assert [chat.title for chat in conversations.list_recent(session)] == ["Two", "One"]
        conversations.add_message(session, first.id, role="user", content="again")
        assert [chat.title for chat in conversations.list_recent(session)] == ["One", "Two"]
        conversations.rename(session, second.id, "100% Two")
        assert [chat.title for chat in conversations.list_recent(session, search="100% t")] == ["100% Two"]
        assert [chat.title for chat in conversations.list_recent(session, limit=1, offset=1)] == ["100% Two"]


def test_a_removed_conversation_takes_its_messages_and_no_others(database: Database) -> None:
    with database.session_scope() as session:
        gone, kept = (conversations.create(session, title=title, base_model="b") for title in ("gone", "kept"))
        for chat in (gone, kept):
            parent = conversations.add_message(session, chat.id, role="user", content="Hi")
            conversations.add_message(session, chat.id, role="assistant", content="Ho", parent_id=parent.id)
    with database.session_scope() as session:
        conversations.delete(session, gone.id)
    with database.read_scope() as session:
        assert conversations.list_messages(session, gone.id) == []
        assert len(conversations.list_messages(session, kept.id)) == 2


def test_what_is_gone_is_named(database: Database) -> None:
    with database.session_scope() as session:
        for act in (
            lambda: conversations.find_or_raise(session, 9),
            lambda: conversations.add_message(session, 9, role="user", content="Hi"),
            lambda: conversations.update_message(session, 9, content="", status=MessageStatus.FAILED),
            lambda: conversations.delete(session, 9),
        ):
            with pytest.raises(NotFoundError):
                act()
