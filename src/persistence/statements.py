"""The writes of a run's life, as statements that take many rows at once.

A `Write` is what stands or falls together: rows for statements. Its statements are always executed in the order of
`ORDER`, which satisfies the foreign keys, so that the writes of many runs can share one transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from advanced_alchemy.base import AdvancedDeclarativeBase
from sqlalchemy import Executable, Table, bindparam, insert, update

from .tables import ApiToken, Conversation, EventRow, Message, Run

Row = dict[str, Any]
Write = Mapping[Executable, Sequence[Row]]


def table_of(entity: type[AdvancedDeclarativeBase]) -> Table:
    table = entity.__table__
    assert isinstance(table, Table)
    return table


CONVERSATION, MESSAGE, RUN, EVENT = map(table_of, (Conversation, Message, Run, EventRow))

ADD_CONVERSATION = insert(CONVERSATION)
TOUCH_CONVERSATION = (
    update(CONVERSATION)
    .where(CONVERSATION.c.id == bindparam("conversation"))
    .values(title=bindparam("new_title"), active_at=bindparam("now"), team=bindparam("new_team"))
)
ADD_MESSAGE = insert(MESSAGE)
ADD_RUN = insert(RUN)
ADD_EVENT = insert(EVENT)
FINISH_MESSAGE = (
    update(MESSAGE)
    .where(MESSAGE.c.id == bindparam("message"))
    .values(content=bindparam("new_content"), agent_name=bindparam("new_agent"))
)
FINISH_RUN = (
    update(RUN).where(RUN.c.id == bindparam("run")).values(status=bindparam("new_status"), ended_at=bindparam("now"))
)
API_TOKEN = table_of(ApiToken)
NOTE_TOKEN_USE = update(API_TOKEN).where(API_TOKEN.c.id == bindparam("token")).values(last_used_at=bindparam("at"))
ORDER = (
    ADD_CONVERSATION,
    TOUCH_CONVERSATION,
    ADD_MESSAGE,
    ADD_RUN,
    ADD_EVENT,
    FINISH_MESSAGE,
    FINISH_RUN,
    NOTE_TOKEN_USE,
)
