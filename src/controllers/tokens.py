"""The page of API tokens: made here, shown once, revoked here."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from litestar.status_codes import HTTP_201_CREATED
from msgspec import Struct
from sqlalchemy.exc import IntegrityError

from ..accounts.accounts import Accounts
from ..accounts.person import Person
from ..accounts.secrets import hash_of
from ..errors import Invalid, NotFound
from ..persistence.repositories import ApiTokens
from ..persistence.tables import ApiToken
from ..rendering.templates import to_html
from .access import PREFIX, SCOPES, Gate, Scope, address_of, new_token, shown_part
from .answers import PageRequest, html, see
from .body import short_entry

NAME_LIMIT = 60  # characters


class Wanted(Struct):
    name: str = ""
    scope: str = ""


class Made(Struct):
    name: str
    token: str


class TokenPages(Controller):
    include_in_schema = False
    path = "/tokens"

    @get()
    async def index(self, api_tokens: NamedDependency[ApiTokens], gate: NamedDependency[Gate]) -> Response[str]:
        return html(await tokens_page(api_tokens, gate))

    @post()
    async def make(
        self,
        request: PageRequest,
        data: Annotated[Wanted, Body(media_type=RequestEncodingType.URL_ENCODED)],
        api_tokens: NamedDependency[ApiTokens],
        gate: NamedDependency[Gate],
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[str]:
        """Answers with the token itself instead of leading to a page, for it must not stand in an address.

        Names are unique, so that a reload, which sends the form again, makes no second token.
        """
        token = new_token()
        try:
            name, scope = token_name(data.name), token_scope(data.scope)
            kept = {"owner_id": person.id, "name": name, "hash": hash_of(token), "start": shown_part(token)}
            api_tokens.session.add(ApiToken(**kept, scope=scope))
            await api_tokens.session.commit()
        except Invalid as refusal:
            wrong = refusal
        except IntegrityError:
            wrong = Invalid("There is a token of this name already.", field="name")
        else:
            await accounts.audit("token_made", person.name, f"{name} ({scope})", address_of(request))
            return html(await tokens_page(api_tokens, gate, made=Made(name, token)), status=HTTP_201_CREATED)
        await api_tokens.session.rollback()
        return html(await tokens_page(api_tokens, gate, data, wrong), status=wrong.status)

    @post("/{token_id:uuid}/revocations")
    async def revoke(
        self,
        request: PageRequest,
        token_id: FromPath[UUID],
        api_tokens: NamedDependency[ApiTokens],
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        token = await api_tokens.get_one_or_none(id=token_id)
        if token is None:
            raise NotFound("There is no such token; it may have been revoked already.")
        await api_tokens.session.delete(token)
        await api_tokens.session.commit()
        await accounts.audit("token_revoked", person.name, token.name, address_of(request))
        return see("/tokens")


def token_name(name: str) -> str:
    return short_entry(name, NAME_LIMIT, "name", needed="A token needs a name.")


def token_scope(scope: str) -> Scope:
    if scope not in SCOPES:
        raise Invalid("Choose what the token may do.", field="scope")
    return scope


async def tokens_page(
    api_tokens: ApiTokens,
    gate: Gate,
    written: Wanted | None = None,
    wrong: Invalid | None = None,
    made: Made | None = None,
) -> str:
    return to_html(
        "tokens/index.html",
        tokens=await api_tokens.newest(),
        required=gate.required,
        prefix=PREFIX,
        written=written or Wanted(scope="read"),
        wrong=wrong,
        made=made,
    )
