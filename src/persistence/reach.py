"""How far a person's requests reach. It is a part of every query of their session, so that nobody can forget it."""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, event, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from ..errors import Forbidden
from .statements import CONVERSATION, table_of
from .tables import (
    ApiToken,
    Conversation,
    Document,
    Membership,
    Memory,
    Message,
    OwnAgent,
    OwnTeam,
    Passage,
    Project,
    Revision,
    Run,
    SignIn,
    ToolServer,
)

T = TypeVar("T")

PROJECT, MEMBERSHIP = table_of(Project), table_of(Membership)


class Reach(NamedTuple):
    """`to_write`: only what that person may change."""

    account_id: UUID
    to_write: bool = False


def keep_within(session: AsyncSession, reach: Reach | None) -> AsyncSession:
    """From now on the session finds nothing else; None: everything, as one person without accounts does."""
    session.info["reach"] = reach
    return session


async def within_reach(session: AsyncSession, find: Callable[[], Awaitable[T | None]]) -> T | None:
    """What is looked for with this session. Raises Forbidden where it may be read only: that is no secret."""
    found = await find()
    reach: Reach | None = session.info.get("reach")
    if found is None and reach and reach.to_write:
        readable = await find_to_read(session, reach, find)
        if readable is not None:
            raise Forbidden("This project is shared with you for reading only.")
    return found


async def find_to_read(session: AsyncSession, reach: Reach, find: Callable[[], Awaitable[T | None]]) -> T | None:
    keep_within(session, reach._replace(to_write=False))
    try:
        return await find()
    finally:
        keep_within(session, reach)


@event.listens_for(Session, "do_orm_execute")
def stay_within(execution: ORMExecuteState) -> None:
    reach: Reach | None = execution.session.info.get("reach")
    if reach is not None and not execution.is_column_load:
        execution.statement = execution.statement.options(*criteria(reach))


@lru_cache(maxsize=1000)
def criteria(reach: Reach) -> list[Any]:
    projects = projects_within(reach)
    conversations = select(CONVERSATION.c.id).where(CONVERSATION.c.project_id.in_(projects))
    within: dict[Any, ColumnElement[bool]] = {
        Project: Project.id.in_(projects),
        **{
            entity: entity.project_id.in_(projects)
            for entity in (Conversation, Document, Memory, Passage, Revision, ToolServer)
        },
        **{entity: entity.conversation_id.in_(conversations) for entity in (Message, Run)},
        **{entity: entity.owner_id == reach.account_id for entity in (ApiToken, OwnAgent, OwnTeam, SignIn)},
    }
    return [with_loader_criteria(entity, which, include_aliases=True) for entity, which in within.items()]


def projects_within(reach: Reach) -> Select[tuple[UUID]]:
    """One's own, and those that are shared with one."""
    shared = select(MEMBERSHIP.c.project_id).where(MEMBERSHIP.c.account_id == reach.account_id)
    if reach.to_write:
        shared = shared.where(MEMBERSHIP.c.may_write)
    return select(PROJECT.c.id).where(or_(PROJECT.c.owner_id == reach.account_id, PROJECT.c.id.in_(shared)))
