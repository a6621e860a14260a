"""Accounts whose people sign in at the OpenID Connect provider: known by its issuer and subject, never by a name."""

import re
import unicodedata
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import Forbidden, Invalid, NotFound, TooManyAttempts
from ..persistence.repositories import note
from ..persistence.tables import FIRST_ACCOUNT, Account, AuthenticationRequest, Invitation, SignIn
from .accounts import NAME_LIMIT, SPENT, WINDOW, Sessions, add_account
from .person import Role
from .provider import Identity
from .secrets import hash_of, new_secret

ON_THE_WAY = timedelta(minutes=10)
MOST_ON_THE_WAY = 200  # from one address, behind which may be an office in the morning
LONGEST_PATH = 2_000  # characters of the page that was asked for
SAME_NAMES = 20  # that are told apart by a number
ATTEMPTS = 5

NOT_BEGUN = "This sign-in was not begun in this browser, or it is finished already. Sign in again."
TOO_LATE = "This sign-in took longer than ten minutes. Sign in again."
UNINVITED = "You are not known here yet. Ask an administrator for an invitation."
CLOSED = "This account is closed. An administrator can open it again."
ANOTHERS = "You sign in to another account with this already. Sign out at the provider first, or ask an administrator."


class Federated:
    """`anyone`: whoever is known at the provider gets an account, invited or not."""

    def __init__(self, sessions: Sessions, *, anyone: bool) -> None:
        self._sessions = sessions
        self._anyone = anyone

    async def begin(
        self, next: str, address: str, *, invitation: str = "", sets_up: bool = False
    ) -> tuple[str, AuthenticationRequest]:
        """What the browser's cookie is to say, and what goes to the provider. Raises TooManyAttempts."""
        secret, at = new_secret(), datetime.now(UTC)
        request = AuthenticationRequest(
            state=hash_of(secret),
            nonce=new_secret(),
            verifier=new_secret(),
            next=next if len(next) <= LONGEST_PATH else "",
            invitation=hash_of(invitation) if invitation else "",
            sets_up=sets_up,
            address=address[:60],
            expires_at=at + ON_THE_WAY,
        )
        async with self._sessions() as session:
            await session.execute(delete(AuthenticationRequest).where(AuthenticationRequest.expires_at < at - WINDOW))
            on_the_way = select(func.count()).where(AuthenticationRequest.address == request.address)
            if (await session.scalar(on_the_way) or 0) >= MOST_ON_THE_WAY:
                raise TooManyAttempts(int(WINDOW.total_seconds()))
            session.add(request)
            await session.commit()
        return secret, request

    async def end(self, secret: str, state: str) -> AuthenticationRequest:
        """What was begun by the browser whose cookie says this: once, and in time. Raises Invalid."""
        if hash_of(secret) != state:
            raise Invalid(NOT_BEGUN)
        taken = delete(AuthenticationRequest).where(AuthenticationRequest.state == state)
        async with self._sessions() as session:
            request = (await session.scalars(taken.returning(AuthenticationRequest))).one_or_none()
            await session.commit()
        if request is None:
            raise Invalid(NOT_BEGUN)
        if request.expires_at < datetime.now(UTC):
            raise Invalid(TOO_LATE)
        return request

    async def enter(self, identity: Identity, request: AuthenticationRequest, address: str) -> UUID:
        """Whose account this is; a new one where that may be made. Raises Forbidden, Invalid or NotFound."""
        for _ in range(ATTEMPTS):
            with suppress(IntegrityError):  # the same person in another tab was faster, or somebody of the same name
                return await self._enter(identity, request, address)
        raise Invalid("Too many people of this name come at once. Sign in again.")

    async def _enter(self, identity: Identity, request: AuthenticationRequest, address: str) -> UUID:
        async with self._sessions() as session:
            account = await account_of(session, identity, request) or await self._admit(session, identity, request)
            if account.closed_at:
                raise Forbidden(CLOSED)
            account_id = account.id
            note(session, "signed_in", account.name, f"at {identity.issuer}", address)
            await session.commit()
        return account_id

    async def _admit(self, session: AsyncSession, identity: Identity, request: AuthenticationRequest) -> Account:
        if request.sets_up:
            return await set_up(session, identity)
        invitation = await take_invitation(session, request.invitation)
        if invitation and invitation.account_id:
            return await link(session, invitation.account_id, identity)
        if invitation is None and not self._anyone:
            raise Forbidden(UNINVITED)
        role: Role = "admin" if invitation and invitation.role == "admin" else "member"
        name = await free_name(session, identity.name)
        account_id = await add_account(session, name, role, issuer=identity.issuer, subject=identity.subject)
        note(session, "account_made", name, f"at {identity.issuer}")
        return await session.get_one(Account, account_id)


async def account_of(session: AsyncSession, identity: Identity, request: AuthenticationRequest) -> Account | None:
    """Raises Invalid where somebody came to another account's link."""
    theirs = (Account.issuer == identity.issuer, Account.subject == identity.subject)
    account = (await session.scalars(select(Account).where(*theirs))).one_or_none()
    if account and request.invitation:
        meant = select(Invitation.account_id).where(Invitation.hash == request.invitation)
        if (await session.scalar(meant) or account.id) != account.id:
            raise Invalid(ANOTHERS)
    return account


async def set_up(session: AsyncSession, identity: Identity) -> Account:
    """The first account, as `Accounts.set_up` does it."""
    name = await free_name(session, identity.name)
    unnamed = (Account.id == FIRST_ACCOUNT, Account.password == "", Account.subject.is_(None))
    named = update(Account).where(*unnamed).values(name=name, issuer=identity.issuer, subject=identity.subject)
    if (await session.execute(named.returning(Account.id))).first() is None:
        raise Invalid("riverrun is set up already. Sign in, or ask an administrator to invite you.")
    note(session, "set_up", name, f"at {identity.issuer}")
    return await session.get_one(Account, FIRST_ACCOUNT, populate_existing=True)


async def take_invitation(session: AsyncSession, hash: str) -> Invitation | None:
    """Raises NotFound if it was good when its page was open, and is not any more."""
    if not hash:
        return None
    good = (Invitation.hash == hash, Invitation.expires_at > datetime.now(UTC))
    invitation = (await session.scalars(delete(Invitation).where(*good).returning(Invitation))).one_or_none()
    if invitation is None:
        raise NotFound(SPENT)
    return invitation


async def link(session: AsyncSession, account_id: UUID, identity: Identity) -> Account:
    """From now on one signs in at the provider: the password is gone, and all browsers are signed out."""
    account = await session.get_one(Account, account_id)
    account.issuer, account.subject, account.password = identity.issuer, identity.subject, ""
    await session.execute(delete(SignIn).where(SignIn.owner_id == account_id))
    note(session, "account_linked", account.name, f"at {identity.issuer}")
    return account


async def free_name(session: AsyncSession, wanted: str) -> str:
    """As much like it as there is nobody of yet. Whose name is taken gets another one, and never that account."""
    letters = "".join(filter(str.isprintable, unicodedata.normalize("NFKC", wanted).casefold()))
    name = re.sub(r"\s+", "-", letters.strip())[: NAME_LIMIT - 10] or "person"
    candidates = [name, *(f"{name}-{number}" for number in range(2, SAME_NAMES)), f"{name}-{token_hex(4)}"]
    taken = set(await session.scalars(select(Account.name).where(Account.name.in_(candidates))))
    return next(candidate for candidate in candidates if candidate not in taken)
