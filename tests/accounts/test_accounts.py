"""Accounts on both databases: made, signed in with, changed and closed, and who may not."""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import select, update

from riverrun.accounts import passwords
from riverrun.accounts.accounts import WINDOW, Accounts, note_once
from riverrun.accounts.person import ROLES, UNKNOWN
from riverrun.errors import Invalid, NotFound, RiverrunError, TooManyAttempts
from riverrun.persistence.tables import (
    DEFAULT_PROJECT,
    FIRST_ACCOUNT,
    Account,
    ApiToken,
    AuditEntry,
    Invitation,
    Project,
    SignIn,
)
from tests.accounts.conftest import HOME, PASSWORD

T = TypeVar("T")
OTHER_PASSWORD = "staple of the battery"
ELSEWHERE = "198.51.100.7"


async def at_once(*deeds: Awaitable[T]) -> tuple[list[T], list[RiverrunError]]:
    """Those that went well, and the refusals of the others."""
    results = await asyncio.gather(*deeds, return_exceptions=True)
    refused = [result for result in results if isinstance(result, RiverrunError)]
    done: list[Any] = [result for result in results if not isinstance(result, BaseException)]
    assert len(done) + len(refused) == len(deeds), results
    return done, refused


async def audited(accounts: Accounts) -> list[tuple[str, str, str]]:
    """Action, who and about, the oldest first."""
    return [(entry.action, entry.who, entry.about) for entry in reversed(await accounts.audited(1000))]


async def fail(accounts: Accounts, name: str, address: str = HOME, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Invalid):
            await accounts.check(name, "not the password", address)


async def let_time_pass(database: SQLAlchemyAsyncConfig, by: timedelta) -> None:
    """For attempts, browsers and links."""
    async with database.get_session() as session:
        for column in (AuditEntry.created_at, SignIn.seen_at, Invitation.expires_at):
            for row in await session.execute(select(column.class_.id, column)):
                changed = update(column.class_).where(column.class_.id == row[0])
                await session.execute(changed.values({column: row[1] - by}))
        await session.commit()


# The first of all


async def test_the_first_account_gets_what_there_was_and_administers(
    accounts: Accounts, database: SQLAlchemyAsyncConfig
) -> None:
    assert not await accounts.are_set_up()
    assert await accounts.set_up("ada", PASSWORD) == FIRST_ACCOUNT
    assert await accounts.are_set_up()
    async with database.get_session() as session:
        account = await session.get_one(Account, FIRST_ACCOUNT)
        assert (account.role, account.home_id) == ("admin", DEFAULT_PROJECT)
        assert (await session.get_one(Project, DEFAULT_PROJECT)).owner_id == FIRST_ACCOUNT


async def test_the_code_of_the_log_is_asked_for(accounts: Accounts) -> None:
    for code in ("", "0" * 16, accounts.code[:-1], accounts.code.upper() + "x", "ü"):
        with pytest.raises(Invalid) as refusal:
            await accounts.check_code(code, HOME)
        assert refusal.value.field == "code"
    await accounts.check_code(f" {accounts.code}\n", HOME)


async def test_another_start_has_another_code(accounts: Accounts, database: SQLAlchemyAsyncConfig) -> None:
    assert Accounts(database.create_session_maker(), days=30).code != accounts.code


async def test_guesses_at_the_code_are_limited(accounts: Accounts) -> None:
    for number in range(10):
        with pytest.raises(Invalid):
            await accounts.check_code(str(number), HOME)
    with pytest.raises(TooManyAttempts):
        await accounts.check_code(accounts.code, HOME)
    await accounts.check_code(accounts.code, ELSEWHERE)


async def test_two_cannot_be_the_first(accounts: Accounts, ada: UUID) -> None:
    with pytest.raises(Invalid, match="set up already"):
        await accounts.set_up("eve", OTHER_PASSWORD)
    assert await accounts.check("ada", PASSWORD, HOME) == ada


async def test_two_cannot_be_the_first_at_the_same_moment(accounts: Accounts) -> None:
    names = ["ada", "bob", "eve", "dan"]
    done, refused = await at_once(*(accounts.set_up(name, PASSWORD) for name in names))
    assert (len(done), len(refused)) == (1, 3)
    assert len(await accounts.people()) == 1


# Names


@pytest.mark.parametrize("name", ["ADA", " Ada ", "ａｄａ", "Ⓐda"])
async def test_a_name_is_one_name_however_it_is_written(accounts: Accounts, ada: UUID, name: str) -> None:
    assert await accounts.check(name, PASSWORD, HOME) == ada
    assert (await accounts.find(name)).id == ada
    with pytest.raises(Invalid, match="of this name already"):
        await accounts.make(name, PASSWORD, "member")


@pytest.mark.parametrize("name", ["İstanbul", "STRASSE", "straße", "ﬁnn", "ΣΊΣΥΦΟΣ"])
async def test_a_name_signs_in_as_it_was_given(accounts: Accounts, ada: UUID, name: str) -> None:
    made = await accounts.make(name, PASSWORD, "member")
    assert await accounts.check(name, PASSWORD, HOME) == made
    assert await accounts.check(name.upper(), PASSWORD, HOME) == made


@pytest.mark.parametrize(
    "name", ["", "  ", "a da", "a\u00a0da", "ada\x00", "ada\x1b[31m", "\u202eada", "a" * 61, "\ud800"]
)
async def test_what_is_no_name_is_refused(accounts: Accounts, ada: UUID, name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        await accounts.make(name, PASSWORD, "member")
    assert refusal.value.field == "name"
    with pytest.raises(Invalid, match="name or the password"):
        await accounts.check(name, PASSWORD, HOME)


async def test_a_name_is_given_once_also_at_the_same_moment(accounts: Accounts, ada: UUID) -> None:
    done, refused = await at_once(*(accounts.make(name, PASSWORD, "member") for name in ("bob", "BOB", "Bob")))
    assert (len(done), len(refused)) == (1, 2)
    assert [account.name for account in await accounts.people()] == ["ada", "bob"]


# Signing in


async def test_nothing_tells_whether_an_account_exists(
    accounts: Accounts, ada: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts the work instead of measuring it."""
    bob = await accounts.make("bob", PASSWORD, "member")
    await accounts.change(bob, "ada", HOME, open=False)
    verified: list[str] = []
    verify = passwords._verify

    def count(given: bytes, kept: str) -> bool:
        verified.append(kept)
        return verify(given, kept)

    monkeypatch.setattr(passwords, "_verify", count)
    told = []
    for name, password in (("ada", "not the password"), ("nobody", PASSWORD), ("bob", PASSWORD), ("", PASSWORD)):
        verified.clear()
        with pytest.raises(Invalid) as refusal:
            await accounts.check(name, password, HOME)
        told.append((refusal.value.message, refusal.value.field, len(verified)))
    assert told == [("The name or the password is not right.", "password", 1)] * 4


@pytest.mark.parametrize("name", ["ada", "nobody"])
async def test_after_ten_failures_not_even_the_right_password_is_tried(
    accounts: Accounts, ada: UUID, database: SQLAlchemyAsyncConfig, name: str
) -> None:
    await fail(accounts, name, times=10)
    with pytest.raises(TooManyAttempts) as refusal:
        await accounts.check(name, PASSWORD, HOME)
    assert refusal.value.headers["Retry-After"] == "900"
    with pytest.raises(TooManyAttempts):  # as another process, or after a restart
        await Accounts(database.create_session_maker(), days=30).check(name, PASSWORD, HOME)


async def test_whoever_is_elsewhere_is_not_locked_out(accounts: Accounts, ada: UUID) -> None:
    await fail(accounts, "ada", HOME, times=10)
    assert await accounts.check("ada", PASSWORD, ELSEWHERE) == ada
    await fail(accounts, "bob", HOME)  # another name from there


async def test_fifty_failures_are_enough_for_an_address(accounts: Accounts, ada: UUID) -> None:
    for number in range(50):
        await fail(accounts, f"somebody{number}")
    with pytest.raises(TooManyAttempts):
        await accounts.check("ada", PASSWORD, HOME)
    assert await accounts.check("ada", PASSWORD, ELSEWHERE) == ada


async def test_a_hundred_failures_are_enough_for_a_name_wherever_they_come_from(accounts: Accounts, ada: UUID) -> None:
    for number in range(100):
        await fail(accounts, "ada", f"203.0.113.{number // 9}")
    with pytest.raises(TooManyAttempts):
        await accounts.check("ada", PASSWORD, ELSEWHERE)
    await fail(accounts, "bob", ELSEWHERE)


async def test_the_limit_ends_by_itself(accounts: Accounts, ada: UUID, database: SQLAlchemyAsyncConfig) -> None:
    await fail(accounts, "ada", times=10)
    await let_time_pass(database, WINDOW)
    assert await accounts.check("ada", PASSWORD, HOME) == ada


async def test_what_was_right_is_not_counted(accounts: Accounts, ada: UUID) -> None:
    for _ in range(12):
        await accounts.check("ada", PASSWORD, HOME)
    await fail(accounts, "ada", times=10)


async def test_attempts_at_the_same_moment_count_each_other(accounts: Accounts, ada: UUID) -> None:
    _, refused = await at_once(*(accounts.check("ada", f"guess number {number}", HOME) for number in range(30)))
    assert len(refused) == 30
    assert sum(isinstance(refusal, TooManyAttempts) for refusal in refused) == 20


# Browsers


async def test_what_a_cookie_says_is_nowhere_in_the_database(
    accounts: Accounts, ada: UUID, database: SQLAlchemyAsyncConfig
) -> None:
    secret = await accounts.sign_in(ada, "Firefox", HOME)
    invitation = await accounts.invite("member", "ada")
    async with database.get_engine().connect() as connection:
        for table in Account.metadata.sorted_tables:
            if table.name in ("sign_in", "account", "invitation", "audit_entry"):
                rows: Sequence[Any] = (await connection.execute(select(table))).all()
                assert rows, table.name
                for kept in (secret, invitation, PASSWORD):
                    assert kept not in str(rows)


async def test_each_sign_in_is_another_secret(accounts: Accounts, ada: UUID) -> None:
    secrets = {await accounts.sign_in(ada, "Firefox", HOME) for _ in range(3)}
    assert len(secrets) == 3
    assert all(len(secret) == 43 for secret in secrets)


async def test_browsers_are_listed_and_ended_one_by_one_or_all_others(accounts: Accounts, ada: UUID) -> None:
    bob = await accounts.make("bob", PASSWORD, "member")
    for agent in ("phone", "laptop", "library"):
        await accounts.sign_in(ada, agent, HOME)
    await accounts.sign_in(bob, "bob's", ELSEWHERE)
    listed = {sign_in.agent: sign_in.id for sign_in in await accounts.sign_ins(ada)}
    assert set(listed) == {"phone", "laptop", "library"}
    await accounts.sign_out(ada, listed["library"])
    assert {sign_in.agent for sign_in in await accounts.sign_ins(ada)} == {"phone", "laptop"}
    await accounts.sign_out(bob, listed["phone"])  # is not his to end
    await accounts.sign_out(ada, but=listed["phone"])
    assert [sign_in.agent for sign_in in await accounts.sign_ins(ada)] == ["phone"]
    assert len(await accounts.sign_ins(bob)) == 1


async def test_a_browser_that_was_not_used_is_signed_out(
    accounts: Accounts, ada: UUID, database: SQLAlchemyAsyncConfig
) -> None:
    await accounts.sign_in(ada, "old", HOME)
    await let_time_pass(database, timedelta(days=29))
    assert [sign_in.agent for sign_in in await accounts.sign_ins(ada)] == ["old"]
    await let_time_pass(database, timedelta(days=2))
    assert await accounts.sign_ins(ada) == []
    await accounts.sign_in(ada, "new", HOME)
    async with database.get_session() as session:  # and is not kept for ever either
        assert [row.agent for row in await session.scalars(select(SignIn))] == ["new"]


# Passwords that change


async def test_a_new_password_needs_the_old_one_and_ends_other_browsers(accounts: Accounts, ada: UUID) -> None:
    await accounts.sign_in(ada, "here", HOME)
    here = (await accounts.sign_ins(ada))[0].id
    await accounts.sign_in(ada, "there", HOME)
    link = await accounts.invite("member", "ada", ada)
    with pytest.raises(Invalid) as refusal:
        await accounts.change_password(ada, OTHER_PASSWORD, "a third password", here, HOME)
    assert refusal.value.field == "old"
    with pytest.raises(Invalid) as refusal:
        await accounts.change_password(ada, PASSWORD, "short", here, HOME)
    assert refusal.value.field == "password"
    assert len(await accounts.sign_ins(ada)) == 2
    await accounts.change_password(ada, PASSWORD, OTHER_PASSWORD, here, HOME)
    assert [sign_in.agent for sign_in in await accounts.sign_ins(ada)] == ["here"]
    await fail(accounts, "ada")
    assert await accounts.check("ada", OTHER_PASSWORD, HOME) == ada
    with pytest.raises(NotFound):  # nobody comes in by a link of before
        await accounts.invited(link)


async def test_guesses_at_the_old_password_are_limited_too(accounts: Accounts, ada: UUID) -> None:
    for _ in range(10):
        with pytest.raises(Invalid):
            await accounts.change_password(ada, "not the password", OTHER_PASSWORD, None, HOME)
    with pytest.raises(TooManyAttempts):
        await accounts.change_password(ada, PASSWORD, OTHER_PASSWORD, None, HOME)


async def test_a_link_gives_a_new_password_and_ends_all_browsers(accounts: Accounts, ada: UUID) -> None:
    bob = await accounts.make("bob", PASSWORD, "admin")
    await accounts.sign_in(bob, "lost phone", HOME)
    link = await accounts.invite("member", "ada", bob)
    assert await accounts.invited(link) == "bob"
    assert await accounts.accept(link, "another name", OTHER_PASSWORD, HOME) == bob
    assert await accounts.sign_ins(bob) == []
    assert await accounts.check("bob", OTHER_PASSWORD, HOME) == bob
    assert (await accounts.find("bob")).role == "admin"  # a new password is no new role


# Invitations


async def test_an_invitation_makes_one_account_of_its_role(
    accounts: Accounts, ada: UUID, database: SQLAlchemyAsyncConfig
) -> None:
    for role in ROLES:
        link = await accounts.invite(role, "ada")
        assert await accounts.invited(link) == ""
        made = await accounts.accept(link, f"new-{role}", PASSWORD, HOME)
        with pytest.raises(NotFound, match="not good any more"):
            await accounts.accept(link, "second", PASSWORD, HOME)
        async with database.get_session() as session:
            account = await session.get_one(Account, made)
            assert account.role == role
            assert (await session.get_one(Project, account.home_id)).owner_id == made
    with pytest.raises(NotFound):
        await accounts.find("second")


async def test_a_refused_name_or_password_leaves_the_invitation_good(accounts: Accounts, ada: UUID) -> None:
    link = await accounts.invite("member", "ada")
    for name, password in (("ada", PASSWORD), ("", PASSWORD), ("bob", "short"), ("bob-the-builder", "Bob-the-Builder")):
        with pytest.raises(Invalid):
            await accounts.accept(link, name, password, HOME)
    await accounts.accept(link, "bob", PASSWORD, HOME)


async def test_two_who_use_an_invitation_at_the_same_moment(accounts: Accounts, ada: UUID) -> None:
    link = await accounts.invite("member", "ada")
    names = ("bob", "eve", "dan")
    done, refused = await at_once(*(accounts.accept(link, name, PASSWORD, HOME) for name in names))
    assert (len(done), [type(refusal) for refusal in refused]) == (1, [NotFound, NotFound])
    assert len(await accounts.people()) == 2


async def test_an_invitation_expires(accounts: Accounts, ada: UUID, database: SQLAlchemyAsyncConfig) -> None:
    link = await accounts.invite("member", "ada")
    await let_time_pass(database, timedelta(days=6, hours=23))
    await accounts.invited(link)
    await let_time_pass(database, timedelta(hours=2))
    with pytest.raises(NotFound):
        await accounts.invited(link)
    with pytest.raises(NotFound):
        await accounts.accept(link, "bob", PASSWORD, HOME)


@pytest.mark.parametrize("secret", ["", "x" * 43, "' OR 1=1 --", "\ud800", "\x00"])
async def test_what_is_no_invitation_is_told_so(accounts: Accounts, ada: UUID, secret: str) -> None:
    await accounts.invite("member", "ada")
    with pytest.raises(NotFound):
        await accounts.invited(secret)


# Roles and closing


async def test_a_closed_account_is_out_and_can_be_opened_again(accounts: Accounts, ada: UUID) -> None:
    bob = await accounts.make("bob", PASSWORD, "member")
    await accounts.sign_in(bob, "phone", HOME)
    link = await accounts.invite("member", "ada", bob)
    await accounts.change(bob, "ada", HOME, open=False)
    assert await accounts.sign_ins(bob) == []
    await fail(accounts, "bob")
    with pytest.raises(Invalid):
        await accounts.check("bob", PASSWORD, HOME)
    for use in (accounts.invited(link), accounts.accept(link, "", OTHER_PASSWORD, HOME)):
        with pytest.raises(NotFound):
            await use
    with pytest.raises(Invalid, match="closed"):
        await accounts.invite("member", "ada", bob)
    await accounts.change(bob, "ada", HOME)
    assert await accounts.check("bob", PASSWORD, HOME) == bob
    with pytest.raises(NotFound):  # also now
        await accounts.invited(link)


async def test_somebody_is_always_left_who_can_administer(accounts: Accounts, ada: UUID) -> None:
    bob = await accounts.make("bob", PASSWORD, "member")
    for change in (accounts.change(ada, "ada", HOME, role="member"), accounts.change(ada, "ada", HOME, open=False)):
        with pytest.raises(Invalid, match="administer"):
            await change
    assert await accounts.check("ada", PASSWORD, HOME) == ada
    await accounts.change(bob, "ada", HOME, role="admin")
    await accounts.change(ada, "bob", HOME, open=False)
    with pytest.raises(Invalid, match="administer"):
        await accounts.change(bob, "bob", HOME, role="member")


async def test_two_cannot_take_each_others_role_away(accounts: Accounts, ada: UUID) -> None:
    bob = await accounts.make("bob", PASSWORD, "admin")
    await at_once(*(accounts.people() for _ in range(2)))  # now neither has to connect first
    done, refused = await at_once(
        accounts.change(bob, "ada", HOME, role="member"), accounts.change(ada, "bob", HOME, role="member")
    )
    assert (len(done), len(refused)) == (1, 1)
    left = [account for account in await accounts.people() if account.role == "admin" and not account.closed_at]
    assert len(left) == 1


async def test_who_is_not_there_cannot_be_changed(accounts: Accounts) -> None:
    """Nor the first account before it has a name."""
    for account_id in (FIRST_ACCOUNT, UUID(int=7)):
        for change in (
            accounts.change(account_id, "ada", HOME, role="admin"),
            accounts.change(account_id, "ada", HOME, open=False),
            accounts.invite("member", "ada", account_id),
        ):
            with pytest.raises(NotFound):
                await change


# What administrators have to know of


async def test_what_is_done_is_noted(accounts: Accounts) -> None:
    ada = await accounts.set_up("ada", PASSWORD, HOME)
    await accounts.check("ada", PASSWORD, HOME)
    await fail(accounts, "ada")
    link = await accounts.invite("member", "ada")
    bob = await accounts.accept(link, "bob", PASSWORD, HOME)
    await accounts.change(bob, "ada", HOME, role="admin")
    await accounts.change(bob, "ada", HOME, open=False)
    await accounts.change(bob, "ada", HOME)
    await accounts.accept(await accounts.invite("member", "ada", bob), "", OTHER_PASSWORD, HOME)
    await accounts.change_password(ada, PASSWORD, OTHER_PASSWORD, None, HOME)
    assert await audited(accounts) == [
        ("set_up", "ada", ""),
        ("signed_in", "ada", ""),
        ("sign_in_failed", "ada", "name or password"),
        ("invited", "ada", "member"),
        ("invitation_used", "bob", "member"),
        ("role_changed", "ada", "bob: admin"),
        ("account_closed", "ada", "bob"),
        ("account_opened", "ada", "bob"),
        ("password_link", "ada", "bob"),
        ("password_reset", "bob", ""),
        ("password_changed", "ada", "ada"),
    ]


async def test_a_name_that_nobody_has_is_not_told(accounts: Accounts, ada: UUID) -> None:
    """It may be a password, typed into the wrong field."""
    await fail(accounts, PASSWORD)
    (action, who, about) = (await audited(accounts))[-1]
    assert (action, who[0], about) == ("sign_in_failed", UNKNOWN, "name or password")
    assert PASSWORD not in str(await audited(accounts))


async def test_the_use_of_a_token_is_noted_once_for_each_address(
    accounts: Accounts, ada: UUID, database: SQLAlchemyAsyncConfig
) -> None:
    for address in (HOME, HOME, ELSEWHERE, HOME):
        async with database.get_session() as session:
            await note_once(session, "token_used", "ada", "backup (read)", address)
    told = [entry.address for entry in await accounts.audited(100) if entry.action == "token_used"]
    assert told == [ELSEWHERE, HOME]


async def test_the_log_is_read_backwards_page_by_page(accounts: Accounts) -> None:
    for number in range(5):
        await accounts.audit("shared", "ada", str(number))
    newest = await accounts.audited(2)
    assert [entry.about for entry in newest] == ["4", "3"]
    assert [entry.about for entry in await accounts.audited(2, newest[-1].id)] == ["2", "1"]


async def test_tokens_of_two_people_may_have_one_name(
    accounts: Accounts, ada: UUID, database: SQLAlchemyAsyncConfig
) -> None:
    bob = await accounts.make("bob", PASSWORD, "member")
    async with database.get_session() as session:
        for owner in (ada, bob):
            session.add(ApiToken(owner_id=owner, name="backup", hash=str(owner), start="abc", scope="read"))
        await session.commit()
