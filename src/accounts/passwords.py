"""Passwords: kept as Argon2 hashes, and worked out in threads, for each takes a while on purpose."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from ..errors import Invalid

SHORTEST, LONGEST = 10, 1000  # characters

hasher = PasswordHasher()
# Of no password: where there is no account, as much is worked out as where there is one.
NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$aMO06fU64xnTk/NDNYssJg$L3juKpBJ0gCjSWGs5gtxUC5InjnKZtLBHYNYB8WmhGs"


def check_new(password: str, name: str) -> None:
    """Raises Invalid."""
    if len(password) < SHORTEST:
        raise Invalid(f"A password needs {SHORTEST} characters or more.", field="password")
    if len(password) > LONGEST:
        raise Invalid(f"A password may have {LONGEST:,} characters.", field="password")
    if name and password.casefold() == name.casefold():
        raise Invalid("The name itself is no password.", field="password")


async def hash_of(password: str) -> str:
    return await asyncio.to_thread(hasher.hash, password.encode(errors="replace"))


async def is_right(password: str, kept: str) -> bool:
    """`kept` empty: there is nothing to compare with, and it takes just as long to say so."""
    right = await asyncio.to_thread(_verify, password[: LONGEST + 1].encode(errors="replace"), kept or NOBODYS)
    return right and bool(kept)


def _verify(password: bytes, kept: str) -> bool:
    try:
        return hasher.verify(kept, password)
    except (Argon2Error, InvalidHashError):
        return False
