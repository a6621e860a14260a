"""The pages of people's own teams."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from itertools import count
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from msgspec import Struct
from sqlalchemy.exc import IntegrityError

from ..accounts.person import Person
from ..errors import Invalid, NotFound
from ..persistence.repositories import OwnAgents, OwnTeams
from ..persistence.tables import OwnTeam
from ..rendering.templates import to_html
from ..runs.runner import Runner
from .agents import Chosen, several
from .answers import html, see
from .body import short_entry

TITLE_LIMIT = 60  # characters
DESCRIPTION_LIMIT = 200

TAKEN = Invalid("There is a team of this title already.", field="title")


class Described(Struct):
    """`members` are ids of agents, in order."""

    title: str = ""
    description: str = ""
    members: Chosen = ""


class Shown(Struct):
    """The team that is edited, as it is saved."""

    id: UUID
    title: str


DescribedForm = Annotated[Described, Body(media_type=RequestEncodingType.URL_ENCODED)]


class TeamPages(Controller):
    include_in_schema = False
    path = "/teams"

    @get("/new")
    async def new(self, own_agents: NamedDependency[OwnAgents]) -> Response[str]:
        return html(await team_page(own_agents, Described()))

    @post()
    async def create(
        self,
        data: DescribedForm,
        runner: NamedDependency[Runner],
        own_teams: NamedDependency[OwnTeams],
        own_agents: NamedDependency[OwnAgents],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        return await save(OwnTeam(owner_id=person.id), data, runner, own_teams, own_agents, person)

    @get("/{team_id:uuid}")
    async def show(
        self,
        team_id: FromPath[UUID],
        own_teams: NamedDependency[OwnTeams],
        own_agents: NamedDependency[OwnAgents],
    ) -> Response[str]:
        team = await found_team(own_teams, team_id)
        return html(
            await team_page(
                own_agents, Described(team.title, team.description, team.members), Shown(team.id, team.title)
            )
        )

    @post("/{team_id:uuid}")
    async def change(
        self,
        team_id: FromPath[UUID],
        data: DescribedForm,
        runner: NamedDependency[Runner],
        own_teams: NamedDependency[OwnTeams],
        own_agents: NamedDependency[OwnAgents],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        return await save(await found_team(own_teams, team_id), data, runner, own_teams, own_agents, person)

    @post("/{team_id:uuid}/deletions")
    async def delete(self, team_id: FromPath[UUID], own_teams: NamedDependency[OwnTeams]) -> Response[Any]:
        await own_teams.session.delete(await found_team(own_teams, team_id))
        await own_teams.session.commit()
        return see("/agents")


async def save(
    team: OwnTeam, data: Described, runner: Runner, own_teams: OwnTeams, own_agents: OwnAgents, person: Person
) -> Response[Any]:
    shown = Shown(team.id, team.title) if team.id else None
    others = [other for other in await runner.teams.all(person.id) if other.name != team.name]
    try:
        team.title = short_entry(data.title, TITLE_LIMIT, "title", needed="A team needs a title.")
        if team.title.casefold() in {other.title.casefold() for other in others}:
            raise TAKEN
        team.description = short_entry(data.description, DESCRIPTION_LIMIT, "description")
        team.members = await members_of(several(data.members), own_agents)
        # It keeps the name that it was given first: conversations know it by that.
        team.name = team.name or free_name(team.title, {*runner.teams.known, *await own_teams.names()})
        own_teams.session.add(team)
        await own_teams.session.commit()
    except Invalid as refusal:
        wrong = refusal
    except IntegrityError:
        wrong = TAKEN
    else:
        return see(f"/agents#team-{team.id}")
    await own_teams.session.rollback()
    return html(await team_page(own_agents, data, shown, wrong), status=wrong.status)


async def members_of(ids: Sequence[str], own_agents: OwnAgents) -> list[str]:
    known = await own_agents.by_id()
    members = [member for member in dict.fromkeys(ids) if member in known]
    if not members:
        raise Invalid("Choose at least one agent.", field="members")
    return members


def free_name(title: str, taken: Collection[str]) -> str:
    """By which programs call it: the title in small plain letters."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[: TITLE_LIMIT - 5] or "team"
    return next(name for n in count(1) if (name := slug if n == 1 else f"{slug}-{n}") not in taken)


async def found_team(own_teams: OwnTeams, id: UUID) -> OwnTeam:
    if team := await own_teams.get_one_or_none(id=id):
        return team
    raise NotFound("There is no such team; it may have been deleted.")


async def team_page(
    own_agents: OwnAgents, written: Described, team: Shown | None = None, wrong: Invalid | None = None
) -> str:
    """`team` None: a new one. Members come first, in their order."""
    chosen = several(written.members)
    agents = await own_agents.by_id()
    order = dict.fromkeys([*(member for member in chosen if member in agents), *agents])
    return to_html(
        "agents/team.html",
        team=team,
        written=written,
        chosen=chosen,
        agents=[agents[member] for member in order],
        wrong=wrong,
    )
