"""The writes of a run's life, as statements that take many rows at once.

A `Write` is what stands or falls together: rows for statements. Its statements are always executed in the order of
`ORDER`, which satisfies the foreign keys, so that the writes of many runs can share one transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from advanced_alchemy.base import AdvancedDeclarativeBase
from advanced_alchemy.types import GUID
from sqlalchemy import Double, Executable, Table, bindparam, exists, func, insert, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.functions import FunctionElement

from .tables import Account, ApiToken, Approval, Conversation, EventRow, Message, OwnTeam, Run, SignIn

Row = dict[str, Any]
Write = Mapping[Executable, Sequence[Row]]


def table_of(entity: type[AdvancedDeclarativeBase]) -> Table:
    table = entity.__table__
    assert isinstance(table, Table)
    return table


LEASE = 6.0  # seconds for which a run belongs to a process that says nothing


class Clock(FunctionElement[float]):
    """Seconds since 1970 by the database's own clock: those of several machines need not agree."""

    type = Double()
    inherit_cache = True


@compiles(Clock, "sqlite")
def clock_of_sqlite(*_: object, **__: object) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(Clock, "postgresql")
def clock_of_postgresql(*_: object, **__: object) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


CONVERSATION, MESSAGE, RUN, EVENT = map(table_of, (Conversation, Message, Run, EventRow))

ADD_CONVERSATION = insert(CONVERSATION)
TOUCH_CONVERSATION = (
    update(CONVERSATION)
    .where(CONVERSATION.c.id == bindparam("conversation"))
    .values(
        title=bindparam("new_title"),
        active_at=bindparam("now"),
        team=bindparam("new_team"),
        leaf_id=bindparam("new_leaf"),
    )
)
ADD_MESSAGE = insert(MESSAGE)
TAKE_MESSAGE = (  # a pending message comes before the reply into which it was taken
    update(MESSAGE)
    .where(MESSAGE.c.id == bindparam("message"), MESSAGE.c.status != "")
    .values(status="", parent_id=bindparam("new_parent"))
)
TAKEN = aliased(MESSAGE)
MOVE_REPLY = (
    update(MESSAGE)
    .where(MESSAGE.c.id == bindparam("reply"), exists().where(TAKEN.c.id == bindparam("new_parent", type_=GUID)))
    .values(parent_id=bindparam("new_parent"))
)
WAIT_FOR = (  # what is still waiting in a conversation waits for another reply now
    update(MESSAGE)
    .where(MESSAGE.c.conversation_id == bindparam("conversation"), MESSAGE.c.status != "")
    .values(parent_id=bindparam("reply"))
)
ADD_RUN = insert(RUN).values(leased_until=Clock() + LEASE)
RENEW_LEASES = (
    update(RUN)
    .where(RUN.c.owner == bindparam("process"), RUN.c.status == "running")
    .values(leased_until=Clock() + LEASE)
)
RELEASE = update(RUN).where(RUN.c.owner == bindparam("process"), RUN.c.status == "running").values(leased_until=0.0)
STOP_RUN = update(RUN).where(RUN.c.id == bindparam("run"), RUN.c.status == "running").values(stopping=True)
ADD_EVENT = insert(EVENT)
# After the events: their foreign key holds the run, so that nobody takes it over between this look and the commit.
FENCES = (
    select(func.count())
    .select_from(RUN)
    .where(RUN.c.fence == bindparam("fence"), RUN.c.id.in_(bindparam("runs", expanding=True)))
)
ADD_APPROVAL = insert(table_of(Approval))
FINISH_MESSAGE = (
    update(MESSAGE)
    .where(MESSAGE.c.id == bindparam("message"))
    .values(content=bindparam("new_content"), agent_name=bindparam("new_agent"))
)
FINISH_RUN = (
    update(RUN)
    .where(RUN.c.id == bindparam("run"))
    .values(status=bindparam("new_status"), ended_at=bindparam("now"), tokens=bindparam("used"))
)
ACCOUNT, API_TOKEN, OWN_TEAM, SIGN_IN = map(table_of, (Account, ApiToken, OwnTeam, SignIn))
NOTE_TOKEN_USE = update(API_TOKEN).where(API_TOKEN.c.id == bindparam("token")).values(last_used_at=bindparam("at"))
NOTE_SIGN_IN = update(SIGN_IN).where(SIGN_IN.c.id == bindparam("sign_in")).values(seen_at=bindparam("at"))
ORDER = (
    ADD_CONVERSATION,
    TOUCH_CONVERSATION,
    ADD_MESSAGE,
    TAKE_MESSAGE,
    MOVE_REPLY,
    WAIT_FOR,
    ADD_RUN,
    RENEW_LEASES,
    RELEASE,
    STOP_RUN,
    ADD_EVENT,
    FENCES,
    ADD_APPROVAL,
    FINISH_MESSAGE,
    FINISH_RUN,
    NOTE_TOKEN_USE,
    NOTE_SIGN_IN,
)
