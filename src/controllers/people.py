"""The pages of those who administer: who there is, and what was done."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery
from litestar.status_codes import HTTP_201_CREATED
from msgspec import Struct

from ..accounts.accounts import Accounts
from ..accounts.person import ROLES, Person, Role
from ..errors import Invalid
from ..rendering.templates import to_html
from .access import address_of, check_accounts, check_admin
from .answers import PageRequest, html, see

AUDITED = 100  # entries on a page


class Wanted(Struct):
    role: str = ""


RoleForm = Annotated[Wanted, Body(media_type=RequestEncodingType.URL_ENCODED)]


class PeoplePages(Controller):
    include_in_schema = False
    path = "/people"
    guards = (check_accounts, check_admin)

    @get()
    async def index(self, accounts: NamedDependency[Accounts]) -> Response[str]:
        return html(await people_page(accounts))

    @post("/invitations")
    async def invite(
        self,
        request: PageRequest,
        data: RoleForm,
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[str]:
        """Answers with the link itself, which is shown only once."""
        secret = await accounts.invite(role_of(data.role), person.name, address=address_of(request))
        return html(await people_page(accounts, link_to(request, secret)), status=HTTP_201_CREATED)

    @post("/invitations/{invitation_id:uuid}/withdrawals")
    async def withdraw(
        self,
        request: PageRequest,
        invitation_id: FromPath[UUID],
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """A link that was sent to the wrong person, or is not wanted any more."""
        await accounts.withdraw(invitation_id, person.name, address_of(request))
        return see("/people")

    @post("/{account_id:uuid}/passwords")
    async def reset(
        self,
        request: PageRequest,
        account_id: FromPath[UUID],
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[str]:
        """A link with which somebody gives themselves a new password."""
        secret = await accounts.invite("member", person.name, account_id, address_of(request))
        return html(await people_page(accounts, link_to(request, secret), account_id), status=HTTP_201_CREATED)

    @post("/{account_id:uuid}/role")
    async def change_role(
        self,
        request: PageRequest,
        account_id: FromPath[UUID],
        data: RoleForm,
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        await accounts.change(account_id, person.name, address_of(request), role=role_of(data.role))
        return see("/people")

    @post("/{account_id:uuid}/closings")
    async def close(
        self,
        request: PageRequest,
        account_id: FromPath[UUID],
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        await accounts.change(account_id, person.name, address_of(request), open=False)
        return see("/people")

    @post("/{account_id:uuid}/openings")
    async def reopen(
        self,
        request: PageRequest,
        account_id: FromPath[UUID],
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        await accounts.change(account_id, person.name, address_of(request))
        return see("/people")

    @get("/audit")
    async def audit(self, accounts: NamedDependency[Accounts], before: FromQuery[UUID | None] = None) -> Response[str]:
        entries = await accounts.audited(AUDITED + 1, before)
        earlier = entries[AUDITED - 1].id if len(entries) > AUDITED else None
        return html(to_html("accounts/audit.html", entries=entries[:AUDITED], earlier=earlier))


def role_of(written: str) -> Role:
    for role in ROLES:
        if role == written:
            return role
    raise Invalid("Choose a role.", field="role")


def link_to(request: PageRequest, secret: str) -> str:
    return f"{request.base_url}invitations/{secret}"


async def people_page(accounts: Accounts, link: str = "", account_id: UUID | None = None) -> str:
    """`link`: one that was just made, for whom."""
    people, links = await accounts.people(), await accounts.links()
    return to_html("accounts/people.html", people=people, links=links, link=link, linked=account_id)
