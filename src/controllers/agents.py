"""The pages of agents and teams: those that come with riverrun, and those that people make."""

import re
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from msgspec import Struct
from sqlalchemy.exc import IntegrityError

from ..accounts.person import Person
from ..agents.kits import DOCUMENTS, FILES
from ..errors import Invalid, NotFound
from ..persistence.repositories import OwnAgents, OwnTeams
from ..persistence.tables import OwnAgent
from ..rendering.templates import to_html
from ..runs.runner import Runner
from .answers import html, see
from .body import entry, short_entry
from .tool_servers import NAME as SERVER_NAME

NAME_LIMIT = 60  # characters, as are the others
ROLE_LIMIT = 200
MODEL_LIMIT = 200
INSTRUCTIONS_LIMIT = 20_000

Chosen = str | list[str]  # a form sends one ticked box as text, several as a list


class Described(Struct):
    """`servers` names tool servers, with spaces or commas between them."""

    name: str = ""
    role: str = ""
    instructions: str = ""
    model: str = ""
    tools: Chosen = ""
    servers: str = ""

    @classmethod
    def of(cls, agent: OwnAgent) -> "Described":
        kits = [tool for tool in agent.tools if tool in (FILES, DOCUMENTS)]
        servers = ", ".join(tool for tool in agent.tools if tool not in kits)
        return cls(agent.name, agent.role, agent.instructions, agent.model, kits, servers)


class Shown(Struct):
    """The agent that is edited, as it is saved."""

    id: UUID
    name: str


DescribedForm = Annotated[Described, Body(media_type=RequestEncodingType.URL_ENCODED)]


class AgentPages(Controller):
    include_in_schema = False
    path = "/agents"

    @get()
    async def index(
        self,
        runner: NamedDependency[Runner],
        own_agents: NamedDependency[OwnAgents],
        own_teams: NamedDependency[OwnTeams],
    ) -> Response[str]:
        known = {
            "built_in": list(runner.teams.known.values()),
            "agents": await own_agents.by_id(),
            "teams": await own_teams.by_title(),
        }
        return html(to_html("agents/index.html", **known))

    @get("/new")
    async def new(self, runner: NamedDependency[Runner], own_agents: NamedDependency[OwnAgents]) -> Response[str]:
        return html(await agent_page(own_agents, runner, Described()))

    @post()
    async def create(
        self,
        data: DescribedForm,
        runner: NamedDependency[Runner],
        own_agents: NamedDependency[OwnAgents],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        return await save(OwnAgent(owner_id=person.id), data, runner, own_agents)

    @get("/{agent_id:uuid}")
    async def show(
        self, agent_id: FromPath[UUID], runner: NamedDependency[Runner], own_agents: NamedDependency[OwnAgents]
    ) -> Response[str]:
        agent = await found_agent(own_agents, agent_id)
        return html(await agent_page(own_agents, runner, Described.of(agent), Shown(agent.id, agent.name)))

    @post("/{agent_id:uuid}")
    async def change(
        self,
        agent_id: FromPath[UUID],
        data: DescribedForm,
        runner: NamedDependency[Runner],
        own_agents: NamedDependency[OwnAgents],
    ) -> Response[Any]:
        return await save(await found_agent(own_agents, agent_id), data, runner, own_agents)

    @post("/{agent_id:uuid}/deletions")
    async def delete(self, agent_id: FromPath[UUID], own_agents: NamedDependency[OwnAgents]) -> Response[Any]:
        """Its teams go on without it: they leave out a member that is not there."""
        await own_agents.session.delete(await found_agent(own_agents, agent_id))
        await own_agents.session.commit()
        return see("/agents")


async def save(agent: OwnAgent, data: Described, runner: Runner, own_agents: OwnAgents) -> Response[Any]:
    shown = Shown(agent.id, agent.name) if agent.id else None
    try:
        describe(agent, data)
        own_agents.session.add(agent)
        await own_agents.session.commit()
    except Invalid as refusal:
        wrong = refusal
    except IntegrityError:
        wrong = Invalid("There is an agent of this name already.", field="name")
    else:
        return see(f"/agents#agent-{agent.id}")
    await own_agents.session.rollback()
    return html(await agent_page(own_agents, runner, data, shown, wrong), status=wrong.status)


def describe(agent: OwnAgent, data: Described) -> None:
    """Raises Invalid."""
    agent.name = short_entry(data.name, NAME_LIMIT, "name", needed="An agent needs a name.")
    agent.role = short_entry(data.role, ROLE_LIMIT, "role")
    agent.instructions = entry(
        data.instructions, INSTRUCTIONS_LIMIT, "instructions", needed="Write what this agent has to know and to do."
    )
    agent.model = short_entry(data.model, MODEL_LIMIT, "model")
    agent.tools = [tool for tool in several(data.tools) if tool in (FILES, DOCUMENTS)] + servers_of(data.servers)


def servers_of(text: str) -> list[str]:
    names = list(dict.fromkeys(name for name in re.split(r"[\s,]+", text) if name))
    if wrong := next((name for name in names if not SERVER_NAME.fullmatch(name)), None):
        raise Invalid(f"“{wrong[:40]}” cannot be a tool server's name.", field="servers")
    return names


def several(chosen: Chosen) -> list[str]:
    return chosen if isinstance(chosen, list) else [chosen] if chosen else []


async def found_agent(own_agents: OwnAgents, id: UUID) -> OwnAgent:
    if agent := await own_agents.get_one_or_none(id=id):
        return agent
    raise NotFound("There is no such agent; it may have been deleted.")


async def agent_page(
    own_agents: OwnAgents,
    runner: Runner,
    written: Described,
    agent: Shown | None = None,
    wrong: Invalid | None = None,
) -> str:
    """`agent` None: a new one."""
    return to_html(
        "agents/agent.html",
        agent=agent,
        written=written,
        chosen=several(written.tools),
        models=models_of(await own_agents.by_name(), runner),
        model=runner.model.name,
        instructions_limit=INSTRUCTIONS_LIMIT,
        wrong=wrong,
    )


def models_of(agents: Sequence[OwnAgent], runner: Runner) -> list[str]:
    return sorted({runner.model.name, *(agent.model for agent in agents if agent.model)})
