"""Those who come from the provider, several at once, on both databases."""

import asyncio

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import select

from riverrun.accounts.accounts import Accounts
from riverrun.accounts.federated import Federated
from riverrun.accounts.provider import Identity
from riverrun.errors import Invalid
from riverrun.persistence.tables import Account, AuthenticationRequest

ISSUER = "https://id.example.org"


@pytest.fixture
def federated(database: SQLAlchemyAsyncConfig) -> Federated:
    return Federated(database.create_session_maker(), anyone=True)


async def coming(federated: Federated, **how: bool) -> AuthenticationRequest:
    secret, request = await federated.begin("/", "127.0.0.1", **how)  # type: ignore[arg-type]
    return await federated.end(secret, request.state)


async def names(database: SQLAlchemyAsyncConfig) -> list[str]:
    async with database.get_session() as session:
        return sorted(await session.scalars(select(Account.name).where(Account.subject.is_not(None))))


async def test_who_comes_in_several_tabs_gets_one_account(
    database: SQLAlchemyAsyncConfig, federated: Federated
) -> None:
    carol = Identity(ISSUER, "carol", "carol")
    requests = [await coming(federated) for _ in range(4)]
    found = await asyncio.gather(*(federated.enter(carol, request, "127.0.0.1") for request in requests))
    assert len(set(found)) == 1
    assert await names(database) == ["carol"]


async def test_people_of_one_name_are_told_apart(database: SQLAlchemyAsyncConfig, federated: Federated) -> None:
    requests = [await coming(federated) for _ in range(4)]
    alike = [Identity(ISSUER, f"subject {number}", "Carol C") for number in range(4)]
    found = await asyncio.gather(
        *(federated.enter(who, request, "127.0.0.1") for who, request in zip(alike, requests, strict=True))
    )
    assert len(set(found)) == 4
    assert await names(database) == ["carol-c", "carol-c-2", "carol-c-3", "carol-c-4"]


async def test_a_subject_is_somebody_else_at_another_provider(federated: Federated) -> None:
    here, there = Identity(ISSUER, "1", "carol"), Identity("https://other.example.org", "1", "carol")
    found = [await federated.enter(who, await coming(federated), "") for who in (here, there, here, there)]
    assert found[:2] == found[2:]
    assert found[0] != found[1]


async def test_one_who_sets_it_up_is_the_first(database: SQLAlchemyAsyncConfig, federated: Federated) -> None:
    accounts = Accounts(database.create_session_maker(), 30)
    requests = [await coming(federated, sets_up=True) for _ in range(2)]
    assert not await accounts.are_set_up()
    identities = [Identity(ISSUER, name, name) for name in ("ada", "eve")]
    came = await asyncio.gather(
        *(federated.enter(who, request, "") for who, request in zip(identities, requests, strict=True)),
        return_exceptions=True,
    )
    assert sorted(isinstance(one, Invalid) for one in came) == [False, True], came
    assert await accounts.are_set_up()
    assert [account.role for account in await accounts.people()] == ["admin"]
    with pytest.raises(Invalid, match="set up already"):
        await accounts.set_up("bob", "correct horse battery")


async def test_an_answer_ends_one_request_once(federated: Federated) -> None:
    secret, request = await federated.begin("/", "127.0.0.1")
    ends = await asyncio.gather(*(federated.end(secret, request.state) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(end, Invalid) for end in ends) == 2
