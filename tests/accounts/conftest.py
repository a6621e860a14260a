"""Accounts in a database of their own, with passwords that take no time."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from argon2 import PasswordHasher

from riverrun.accounts import passwords
from riverrun.accounts.accounts import Accounts

PASSWORD = "correct horse battery"
HOME = "192.0.2.1"

Sign = Callable[[str], Awaitable[UUID]]


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 all the same, without the work that makes it slow for whoever guesses."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "hasher", hasher)
    monkeypatch.setattr(passwords, "NOBODYS", hasher.hash(""))


@pytest.fixture
def accounts(database: SQLAlchemyAsyncConfig) -> Accounts:
    return Accounts(database.create_session_maker(), days=30)


@pytest.fixture
async def ada(accounts: Accounts) -> UUID:
    """Who administers."""
    return await accounts.set_up("ada", PASSWORD)
