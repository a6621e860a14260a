"""Who a request comes from."""

from contextvars import ContextVar
from typing import Literal, get_args
from uuid import UUID

from msgspec import Struct

from ..persistence.tables import DEFAULT_PROJECT, FIRST_ACCOUNT

UNKNOWN = "#"  # begins what stands in the audit log for a name that nobody has

Role = Literal["member", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


class Person(Struct, frozen=True):
    """`home_id` is the project that is theirs from the start. `alone`: nobody signs in here."""

    id: UUID
    name: str
    role: Role
    home_id: UUID
    alone: bool = False

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


SOLE = Person(FIRST_ACCOUNT, "", "admin", DEFAULT_PROJECT, alone=True)

asking: ContextVar[Person | None] = ContextVar("asking", default=None)
"""The person of the request under way, for what every page shows of them."""

reading: ContextVar[bool] = ContextVar("reading", default=False)
"""Whether the project that the request names is shared with them to be read only."""
