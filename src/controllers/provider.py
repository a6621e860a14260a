"""To the OpenID Connect provider and back."""

from typing import Annotated, Any

from litestar import Controller, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.handlers import BaseRouteHandler
from litestar.params import Body
from msgspec import Struct

from ..accounts.accounts import Accounts
from ..accounts.federated import ON_THE_WAY, Federated
from ..accounts.provider import Provider, Request
from ..errors import Forbidden, NotFound, ProviderFailed, ProviderUnavailable, RiverrunError
from ..persistence.tables import AuthenticationRequest
from ..rendering.templates import to_html
from .access import address_of, check_accounts
from .accounts import PUBLIC, Credentials, invitation_page, set_up_page, sign_in_page, signed_in
from .answers import PageRequest, html, see

COOKIE = "riverrun-provider"
PATH = "/sign-in/provider"
PASSING = ("server_error", "temporarily_unavailable")  # of the errors that RFC 6749 (4.1.2.1) knows


class Start(Struct):
    """`next`: the page that was asked for. `invitation`: whose page it was. `code`: of the first set-up."""

    next: str = ""
    invitation: str = ""
    code: str = ""


async def check_provider(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    if connection.app.state.provider is None:
        raise NotFound("Nobody signs in at a provider here; RIVERRUN_OIDC_ISSUER changes that.")


class ProviderPages(Controller):
    include_in_schema = False
    path = PATH
    guards = (check_accounts, check_provider)
    opt = PUBLIC

    @post()
    async def begin(
        self,
        request: PageRequest,
        data: Annotated[Start, Body(media_type=RequestEncodingType.URL_ENCODED)],
        accounts: NamedDependency[Accounts],
        federated: NamedDependency[Federated],
        provider: NamedDependency[Provider],
    ) -> Response[Any]:
        """Answers with a page that goes on to the provider, not with a redirect: to Chromium a redirect that follows a
        form belongs to it, and forms go nowhere but here (`form-action`). A link in place of the form would let other
        sites begin a sign-in."""
        if not data.code and not await accounts.are_set_up():
            return see("/set-up")
        known = await accounts.invited(data.invitation) if data.invitation else ""
        came_from = address_of(request)
        try:
            if data.code:
                await accounts.check_code(data.code, came_from)
            secret, asked = await federated.begin(
                data.next, came_from, invitation=data.invitation, sets_up=bool(data.code)
            )
            address = await provider.address(sent(request, asked))
        except RiverrunError as refusal:
            return html(page_before(data, known, provider, refusal), refusal.headers, refusal.status)
        answer = html(to_html("accounts/leaving.html", provider=provider.name, address=address))
        answer.cookies.append(cookie(request, secret, int(ON_THE_WAY.total_seconds())))
        return answer

    @get("/callback")
    async def end(
        self,
        request: PageRequest,
        accounts: NamedDependency[Accounts],
        federated: NamedDependency[Federated],
        provider: NamedDependency[Provider],
    ) -> Response[Any]:
        """What another page makes a browser ask for here does nothing, and is not even counted."""
        brought = request.query_params
        asked: AuthenticationRequest | None = None
        try:
            asked = await federated.end(request.cookies.get(COOKIE, ""), brought.get("state", ""))
            if error := brought.get("error"):
                raise told_by(error, provider.name)
            identity = await provider.identify(sent(request, asked), brought.get("code", ""), brought.get("iss", ""))
            account_id = await federated.enter(identity, asked, address_of(request))
        except RiverrunError as refusal:
            if asked:
                await accounts.audit("provider_sign_in_failed", "", refusal.message, address_of(request))
            page = (
                set_up_page(Credentials(), provider.name, refusal)
                if asked and asked.sets_up
                else sign_in_page(Credentials(next=asked.next if asked else ""), provider.name, refusal)
            )
            answer: Response[Any] = html(page, refusal.headers, refusal.status)
        else:
            answer = await signed_in(request, accounts, account_id, asked.next)
        if asked:
            answer.cookies.append(cookie(request, "", 0))
        return answer


def sent(request: PageRequest, asked: AuthenticationRequest) -> Request:
    return Request(f"{request.base_url}{PATH[1:]}/callback", asked.state, asked.nonce, asked.verifier)


def cookie(request: PageRequest, secret: str, seconds: int) -> Cookie:
    """`lax`: it has to come along when another site, the provider, sends its browser back."""
    secure = request.url.scheme == "https"
    return Cookie(COOKIE, PATH, secret, max_age=seconds, httponly=True, samesite="lax", secure=secure)


def told_by(error: str, name: str) -> RiverrunError:
    if error == "access_denied":
        return Forbidden(f"You were not signed in: {name} says that it was declined there.")
    return ProviderUnavailable(name) if error in PASSING else ProviderFailed(name)


def page_before(data: Start, known: str, provider: Provider, refusal: RiverrunError) -> str:
    """The one that somebody came from."""
    if data.invitation:
        return invitation_page(data.invitation, known, Credentials(), provider.name, refusal)
    if data.code:
        return set_up_page(Credentials(code=data.code), provider.name, refusal)
    return sign_in_page(Credentials(next=data.next), provider.name, refusal)
