"""Accounts as they are kept: made, signed in with, changed and closed."""

import unicodedata
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from secrets import compare_digest, token_hex
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..errors import Invalid, NotFound, TooManyAttempts
from ..persistence.repositories import note
from ..persistence.tables import FIRST_ACCOUNT, Account, AuditEntry, Invitation, Project, SignIn
from . import passwords
from .person import UNKNOWN, Role
from .secrets import hash_of, new_secret

Sessions = Callable[[], AbstractAsyncContextManager[AsyncSession]]

NAME_LIMIT = 60  # characters
INVITED_FOR = timedelta(days=7)
WINDOW = timedelta(minutes=15)
MOST_FAILURES, MOST_OF_ADDRESS, MOST_OF_NAME = 10, 50, 100  # of a name at an address, and of either, in that time
FAILED = "sign_in_failed"
WRONG = "The name or the password is not right."
SPENT = "This link is not good any more. Ask an administrator for another one."


class Accounts:
    """`days`: for how many a browser stays signed in that is not used. `code` is good for the first set-up."""

    def __init__(self, sessions: Sessions, days: int) -> None:
        self.days = days
        self.code = token_hex(8)
        self._sessions = sessions

    # The first of all

    async def are_set_up(self) -> bool:
        """Whether the first account was made: by now somebody can sign in, with a password or at the provider."""
        async with self._sessions() as session:
            known = or_(Account.password != "", Account.subject.is_not(None))
            return await session.scalar(select(Account.id).where(known).limit(1)) is not None

    async def check_code(self, code: str, address: str) -> None:
        """Whether this is what the server's log says. Raises Invalid or TooManyAttempts."""
        attempt = await self._attempt("", address, "set-up code")
        if not compare_digest(code.strip().encode(errors="replace"), self.code.encode()):
            raise Invalid("This is not the code in the server's log.", field="code")
        await self._went_well(attempt)

    async def set_up(self, name: str, password: str, address: str = "") -> UUID:
        """Gives the first account a name and a password; everything that there was is theirs. Raises Invalid."""
        name = name_of(name)
        passwords.check_new(password, name)
        kept = await passwords.hash_of(password)
        async with self._sessions() as session:
            unnamed = (Account.id == FIRST_ACCOUNT, Account.password == "", Account.subject.is_(None))
            changed = update(Account).where(*unnamed).values(name=name, password=kept).returning(Account.id)
            if (await session.execute(changed)).first() is None:
                raise Invalid("riverrun is set up already. Sign in, or ask an administrator to invite you.")
            note(session, "set_up", name, address=address)
            await session.commit()
        return FIRST_ACCOUNT

    # Signing in

    async def check(self, name: str, password: str, address: str) -> UUID:
        """Whose name and password these are. Raises Invalid or TooManyAttempts, which tell nothing of any account."""
        name = in_one_form(name)
        async with self._sessions() as session:
            query = select(Account).where(Account.name == name, Account.name != "")
            known = (await session.scalars(query)).one_or_none() if name.isprintable() else None
        attempt = await self._attempt(known.name if known else nameless(name), address, "name or password")
        account = known if known and known.closed_at is None else None
        right = await passwords.is_right(password, account.password if account else "")
        if account is None or not right:
            raise Invalid(WRONG, field="password")
        await self._went_well(attempt, "signed_in")
        return account.id

    async def _attempt(self, name: str, address: str, what: str) -> UUID:
        """Counts as failed until it is known to be right, or many at the same time would be let in to try.

        Raises TooManyAttempts.
        """
        async with self._sessions() as session:
            attempt = note(session, FAILED, name, what, address)
            await session.flush()
            await one_at_a_time(session)
            await refuse_after_failures(session, name, address)
            await session.commit()
            return attempt.id

    async def _went_well(self, attempt: UUID, action: str = "") -> None:
        """It becomes this, or there was nothing."""
        change = update(AuditEntry).values(action=action, about="") if action else delete(AuditEntry)
        async with self._sessions() as session:
            await session.execute(change.where(AuditEntry.id == attempt))
            await session.commit()

    async def sign_in(self, account_id: UUID, agent: str, address: str) -> str:
        """What the browser's cookie is to say."""
        secret, at = new_secret(), datetime.now(UTC)
        async with self._sessions() as session:
            await session.execute(delete(SignIn).where(SignIn.seen_at < at - timedelta(days=self.days)))
            session.add(
                SignIn(owner_id=account_id, hash=hash_of(secret), agent=agent[:300], address=address[:60], seen_at=at)
            )
            await session.commit()
        return secret

    async def sign_out(self, owner_id: UUID, *which: UUID, but: UUID | None = None) -> None:
        """Ends sign-ins of one's own: these, or all `but` one."""
        query = delete(SignIn).where(SignIn.owner_id == owner_id)
        query = query.where(SignIn.id.in_(which)) if which else query.where(SignIn.id != but)
        async with self._sessions() as session:
            await session.execute(query)
            await session.commit()

    async def sign_ins(self, owner_id: UUID) -> Sequence[SignIn]:
        """The latest first."""
        since = datetime.now(UTC) - timedelta(days=self.days)
        query = select(SignIn).where(SignIn.owner_id == owner_id, SignIn.seen_at >= since)
        async with self._sessions() as session:
            return (await session.scalars(query.order_by(SignIn.seen_at.desc()))).all()

    async def change_password(self, account_id: UUID, old: str, new: str, but: UUID | None, address: str) -> None:
        """And signs all other browsers out. Raises Invalid or TooManyAttempts."""
        async with self._sessions() as session:
            account = await session.get_one(Account, account_id)
        attempt = await self._attempt(account.name, address, "old password")
        if not await passwords.is_right(old, account.password):
            raise Invalid("That is not your password.", field="old")
        await self._went_well(attempt)
        await self.give_password(account_id, new, "password_changed", account.name, address=address, but=but)

    async def give_password(
        self, account_id: UUID, password: str, action: str, who: str, *, address: str = "", but: UUID | None = None
    ) -> None:
        """Raises Invalid or NotFound."""
        async with self._sessions() as session:
            account = await session.get(Account, account_id)
            if account is None:
                raise NotFound("There is no such person.")
            passwords.check_new(password, account.name)
            account.password = await passwords.hash_of(password)
            await end_access(session, account_id, but)
            note(session, action, who, account.name, address)
            await session.commit()

    # Who else there is

    async def people(self) -> Sequence[Account]:
        async with self._sessions() as session:
            return (await session.scalars(select(Account).where(Account.name != "").order_by(Account.name))).all()

    async def account(self, account_id: UUID) -> Account:
        async with self._sessions() as session:
            return await session.get_one(Account, account_id)

    async def find(self, name: str) -> Account:
        """Raises NotFound."""
        async with self._sessions() as session:
            account = (await session.scalars(select(Account).where(Account.name == name_of(name)))).one_or_none()
        if account is None:
            raise NotFound("There is nobody of this name.")
        return account

    async def make(self, name: str, password: str, role: Role, who: str = "", address: str = "") -> UUID:
        """An account with a project of its own. Raises Invalid."""
        name = name_of(name)
        passwords.check_new(password, name)
        kept = await passwords.hash_of(password)
        async with self._sessions() as session:
            account_id = await add_account(session, name, role, password=kept)
            note(session, "account_made", who or name, name, address)
            await commit_name(session)
        return account_id

    async def invite(self, role: Role, who: str, account_id: UUID | None = None, address: str = "") -> str:
        """What a link says that makes an account of this role or, with an account, gives it a new password."""
        secret = new_secret()
        async with self._sessions() as session:
            account = await session.get(Account, account_id) if account_id else None
            if account_id and (account is None or not account.name):
                raise NotFound("There is no such person.")
            if account and account.closed_at:
                raise Invalid("This account is closed. Open it again first.")
            until = datetime.now(UTC) + INVITED_FOR
            session.add(Invitation(hash=hash_of(secret), role=role, account_id=account_id, expires_at=until))
            note(session, "password_link" if account else "invited", who, account.name if account else role, address)
            await session.commit()
        return secret

    async def links(self) -> Sequence[tuple[Invitation, str | None]]:
        """Those that can still be used, with the name of whom they give a new password, the oldest first."""
        query = select(Invitation, Account.name).outerjoin(Account, Account.id == Invitation.account_id)
        good = query.where(Invitation.expires_at > datetime.now(UTC)).order_by(Invitation.id)
        async with self._sessions() as session:
            return [(invitation, name) for invitation, name in await session.execute(good)]

    async def withdraw(self, invitation_id: UUID, who: str, address: str = "") -> None:
        """A link that can still be used cannot be any more. Raises NotFound."""
        async with self._sessions() as session:
            invitation = await session.get(Invitation, invitation_id, with_for_update=True)
            if invitation is None:
                raise NotFound("This link was used or taken back already.")
            account = await session.get(Account, invitation.account_id) if invitation.account_id else None
            await session.delete(invitation)
            action = "password_link_withdrawn" if account else "invitation_withdrawn"
            note(session, action, who, account.name if account else invitation.role, address)
            await session.commit()

    async def invited(self, secret: str) -> str:
        """The name of whom a link gives a new password, empty for a new account. Raises NotFound."""
        async with self._sessions() as session:
            invitation = await open_invitation(session, secret)
            account = await session.get(Account, invitation.account_id) if invitation.account_id else None
            return account.name if account else ""

    async def accept(self, secret: str, name: str, password: str, address: str) -> UUID:
        """Uses a link up. Raises NotFound or Invalid."""
        async with self._sessions() as session:
            invitation = await open_invitation(session, secret)
            account = await session.get(Account, invitation.account_id) if invitation.account_id else None
            name = account.name if account else name_of(name)
            passwords.check_new(password, name)
            kept = await passwords.hash_of(password)
            used = delete(Invitation).where(Invitation.id == invitation.id).returning(Invitation.id)
            if (await session.execute(used)).first() is None:  # somebody else was faster
                raise NotFound(SPENT)
            if account:
                account.password = kept
                account_id = account.id
                await end_access(session, account_id)
                note(session, "password_reset", name, address=address)
            else:
                role: Role = "admin" if invitation.role == "admin" else "member"
                account_id = await add_account(session, name, role, password=kept)
                note(session, "invitation_used", name, role, address)
            await commit_name(session)
        return account_id

    async def change(
        self, account_id: UUID, who: str, address: str, *, role: Role | None = None, open: bool = True
    ) -> None:
        """`open` False: nobody can sign in with it, and its tokens are turned away. Raises NotFound or Invalid."""
        async with self._sessions() as session:
            await one_at_a_time(session)  # or two who take each other's role away would both see the other left
            account = await session.get(Account, account_id)
            if account is None or not account.name:
                raise NotFound("There is no such person.")
            account.role = role or account.role
            account.closed_at = None if open else account.closed_at or datetime.now(UTC)
            if not open:
                await end_access(session, account_id)
            await session.flush()
            admins = select(Account.id).where(Account.role == "admin", Account.closed_at.is_(None), Account.name != "")
            if await session.scalar(admins.limit(1)) is None:
                raise Invalid("Somebody has to be left who can administer.")
            action = "role_changed" if role else "account_opened" if open else "account_closed"
            note(session, action, who, f"{account.name}: {account.role}" if role else account.name, address)
            await session.commit()

    # What administrators have to know of

    async def audit(self, action: str, who: str, about: str = "", address: str = "") -> None:
        async with self._sessions() as session:
            note(session, action, who, about, address)
            await session.commit()

    async def audited(self, limit: int, before: UUID | None = None) -> Sequence[AuditEntry]:
        """The newest first."""
        query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditEntry.id < before)
        async with self._sessions() as session:
            return (await session.scalars(query)).all()


def in_one_form(name: str) -> str:
    # Folding may bring forth what can be composed again, and the other way round.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def name_of(written: str) -> str:
    """As it is kept: one may write it in capitals as well. Raises Invalid."""
    name = in_one_form(written)
    if not name:
        raise Invalid("A name is needed.", field="name")
    if len(name) > NAME_LIMIT:
        raise Invalid(f"A name may have {NAME_LIMIT} characters.", field="name")
    if not name.isprintable() or any(character.isspace() for character in name):
        raise Invalid("A name has no spaces in it; an e-mail address is one too.", field="name")
    return name


def nameless(name: str) -> str:
    """What is noted of a name that nobody has: it may be a password that was typed into the wrong field."""
    return f"{UNKNOWN}{hash_of(name)[:16]}"


async def one_at_a_time(session: AsyncSession) -> None:
    """Waits for others who have come this far. With SQLite whoever writes waits for them anyway."""
    await session.execute(select(Account.id).where(Account.id == FIRST_ACCOUNT).with_for_update())


async def refuse_after_failures(session: AsyncSession, name: str, address: str) -> None:
    """This one included. Counted in the database: by all processes, and over restarts. Raises TooManyAttempts."""
    failures = select(func.count()).where(
        AuditEntry.action == FAILED, AuditEntry.created_at > datetime.now(UTC) - WINDOW
    )
    for limit, which in (
        (MOST_FAILURES, (AuditEntry.who == name, AuditEntry.address == address)),
        (MOST_OF_ADDRESS, (AuditEntry.address == address,)),
        (MOST_OF_NAME, (AuditEntry.who == name,)),
    ):
        if (await session.scalar(failures.where(*which)) or 0) > limit:
            raise TooManyAttempts(int(WINDOW.total_seconds()))


async def add_account(
    session: AsyncSession,
    name: str,
    role: Role,
    *,
    password: str = "",
    issuer: str | None = None,
    subject: str | None = None,
) -> UUID:
    account_id, home_id = uuid7(), uuid7()
    session.add(Project(id=home_id, owner_id=account_id, name="Default project"))
    session.add(
        Account(id=account_id, name=name, role=role, password=password, issuer=issuer, subject=subject, home_id=home_id)
    )
    return account_id


async def end_access(session: AsyncSession, account_id: UUID, but: UUID | None = None) -> None:
    """Of all browsers `but` one, and by links for a new password that nobody has used."""
    await session.execute(delete(SignIn).where(SignIn.owner_id == account_id, SignIn.id != but))
    await session.execute(delete(Invitation).where(Invitation.account_id == account_id))


async def open_invitation(session: AsyncSession, secret: str) -> Invitation:
    good = (Invitation.hash == hash_of(secret), Invitation.expires_at > datetime.now(UTC))
    invitation = (await session.scalars(select(Invitation).where(*good))).one_or_none()
    if invitation is None:
        raise NotFound(SPENT)
    return invitation


async def commit_name(session: AsyncSession) -> None:
    try:
        await session.commit()
    except IntegrityError as failure:
        raise Invalid("There is somebody of this name already.", field="name") from failure


async def note_once(session: AsyncSession, action: str, who: str, about: str, address: str) -> None:
    """Only what was not yet done from this address."""
    which = (AuditEntry.action == action, AuditEntry.who == who, AuditEntry.about == about)
    known = select(AuditEntry.id).where(*which, AuditEntry.address == address)
    if await session.scalar(known.limit(1)) is None:
        note(session, action, who, about, address)
        await session.commit()
