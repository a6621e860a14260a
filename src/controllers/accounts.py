"""The pages where people sign in and out, and look after their own account."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery
from msgspec import Struct

from ..accounts.accounts import Accounts
from ..accounts.passwords import SHORTEST
from ..accounts.person import Person
from ..accounts.provider import Provider
from ..errors import Invalid, NotFound, RiverrunError
from ..rendering.templates import to_html
from .access import address_of, check_accounts
from .answers import PageRequest, html, see
from .origin import SESSION_COOKIE

PUBLIC = {"public": True}
DAY = 86_400  # seconds


class Credentials(Struct):
    """`next`: the page that was asked for. `code`: what the server's log says while nobody can sign in yet."""

    name: str = ""
    password: str = ""
    next: str = ""
    code: str = ""


class NewPassword(Struct):
    old: str = ""
    password: str = ""


CredentialsForm = Annotated[Credentials, Body(media_type=RequestEncodingType.URL_ENCODED)]


class SignInPages(Controller):
    include_in_schema = False
    guards = (check_accounts,)

    @get("/sign-in", opt=PUBLIC)
    async def form(
        self,
        request: PageRequest,
        accounts: NamedDependency[Accounts],
        provider: NamedDependency[Provider | None],
        next: FromQuery[str] = "",
    ) -> Response[Any]:
        if request.scope["user"] is not None:
            return see(local(next))
        if not await accounts.are_set_up():
            return see("/set-up")
        return html(sign_in_page(Credentials(next=next), name_of(provider)))

    @post("/sign-in", opt=PUBLIC)
    async def sign_in(
        self,
        request: PageRequest,
        data: CredentialsForm,
        accounts: NamedDependency[Accounts],
        provider: NamedDependency[Provider | None],
    ) -> Response[Any]:
        try:
            account_id = await accounts.check(data.name, data.password, address_of(request))
        except RiverrunError as refusal:
            return html(sign_in_page(data, name_of(provider), refusal), refusal.headers, refusal.status)
        return await signed_in(request, accounts, account_id, data.next)

    @post("/sign-out", opt=PUBLIC)
    async def sign_out(self, request: PageRequest, accounts: NamedDependency[Accounts]) -> Response[Any]:
        await leave(request, accounts)
        answer = see("/sign-in")
        answer.delete_cookie(SESSION_COOKIE)
        return answer

    @get("/set-up", opt=PUBLIC)
    async def set_up_form(
        self, accounts: NamedDependency[Accounts], provider: NamedDependency[Provider | None]
    ) -> Response[Any]:
        if await accounts.are_set_up():
            return see("/sign-in")
        return html(set_up_page(Credentials(), name_of(provider)))

    @post("/set-up", opt=PUBLIC)
    async def set_up(
        self,
        request: PageRequest,
        data: CredentialsForm,
        accounts: NamedDependency[Accounts],
        provider: NamedDependency[Provider | None],
    ) -> Response[Any]:
        try:
            await accounts.check_code(data.code, address_of(request))
            account_id = await accounts.set_up(data.name, data.password, address_of(request))
        except RiverrunError as refusal:
            return html(set_up_page(data, name_of(provider), refusal), refusal.headers, refusal.status)
        return await signed_in(request, accounts, account_id)

    @get("/invitations/{secret:str}", opt=PUBLIC)
    async def invitation(
        self, secret: FromPath[str], accounts: NamedDependency[Accounts], provider: NamedDependency[Provider | None]
    ) -> Response[str]:
        known = await accounts.invited(secret)
        return html(invitation_page(secret, known, Credentials(), name_of(provider)))

    @post("/invitations/{secret:str}", opt=PUBLIC)
    async def accept(
        self,
        request: PageRequest,
        secret: FromPath[str],
        data: CredentialsForm,
        accounts: NamedDependency[Accounts],
        provider: NamedDependency[Provider | None],
    ) -> Response[Any]:
        known = await accounts.invited(secret)
        try:
            account_id = await accounts.accept(secret, data.name, data.password, address_of(request))
        except Invalid as refusal:
            return html(invitation_page(secret, known, data, name_of(provider), refusal), status=refusal.status)
        return await signed_in(request, accounts, account_id)


class AccountPages(Controller):
    include_in_schema = False
    path = "/account"
    guards = (check_accounts,)

    @get()
    async def show(
        self,
        request: PageRequest,
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
        changed: FromQuery[bool] = False,
    ) -> Response[str]:
        return html(await account_page(request, accounts, person, changed=changed))

    @post("/password")
    async def change_password(
        self,
        request: PageRequest,
        data: Annotated[NewPassword, Body(media_type=RequestEncodingType.URL_ENCODED)],
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """All other browsers are signed out."""
        try:
            await accounts.change_password(
                person.id, data.old, data.password, request.scope["auth"], address_of(request)
            )
        except RiverrunError as refusal:
            page = await account_page(request, accounts, person, refusal)
            return html(page, refusal.headers, refusal.status)
        return see("/account?changed=true")

    @post("/sign-ins/{sign_in_id:uuid}/endings")
    async def end(
        self, sign_in_id: FromPath[UUID], accounts: NamedDependency[Accounts], person: NamedDependency[Person]
    ) -> Response[Any]:
        if sign_in_id not in {sign_in.id for sign_in in await accounts.sign_ins(person.id)}:
            raise NotFound("This browser is not signed in any more.")
        await accounts.sign_out(person.id, sign_in_id)
        return see("/account")

    @post("/sign-ins/endings")
    async def end_others(
        self, request: PageRequest, accounts: NamedDependency[Accounts], person: NamedDependency[Person]
    ) -> Response[Any]:
        await accounts.sign_out(person.id, but=request.scope["auth"])
        return see("/account")


async def signed_in(request: PageRequest, accounts: Accounts, account_id: UUID, next: str = "") -> Response[Any]:
    """With a new secret each time: one that a browser had before is worth nothing."""
    await leave(request, accounts)
    secret = await accounts.sign_in(account_id, request.headers.get("user-agent", ""), address_of(request))
    answer = see(local(next))
    answer.cookies.append(
        Cookie(
            key=SESSION_COOKIE,
            value=secret,
            max_age=accounts.days * DAY,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
    )
    return answer


async def leave(request: PageRequest, accounts: Accounts) -> None:
    """Whoever had signed in with this browser before."""
    person: Person | None = request.scope["user"]
    if person is not None:
        await accounts.sign_out(person.id, request.scope["auth"])


def local(path: str) -> str:
    """A path of our own, and nothing that a browser takes for another site."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else "/"


def name_of(provider: Provider | None) -> str:
    return provider.name if provider else ""


# `provider` is its name in these pages; empty: there is none.


def sign_in_page(written: Credentials, provider: str, wrong: RiverrunError | None = None) -> str:
    return to_html("accounts/sign_in.html", written=written, provider=provider, wrong=wrong)


def set_up_page(written: Credentials, provider: str, wrong: RiverrunError | None = None) -> str:
    return to_html("accounts/set_up.html", written=written, provider=provider, wrong=wrong, shortest=SHORTEST)


def invitation_page(
    secret: str, known: str, written: Credentials, provider: str, wrong: RiverrunError | None = None
) -> str:
    """`known`: whose password it is; empty for a new account."""
    told = {"secret": secret, "known": known, "written": written, "provider": provider, "wrong": wrong}
    return to_html("accounts/invitation.html", **told, shortest=SHORTEST)


async def account_page(
    request: PageRequest,
    accounts: Accounts,
    person: Person,
    wrong: RiverrunError | None = None,
    changed: bool = False,
) -> str:
    return to_html(
        "accounts/show.html",
        account=await accounts.account(person.id),
        sign_ins=await accounts.sign_ins(person.id),
        here=request.scope["auth"],
        wrong=wrong,
        changed=changed,
        shortest=SHORTEST,
    )
