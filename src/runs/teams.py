"""Who can be asked to work: the teams that riverrun and installed packages bring, and those that people made."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from ..agents.own import AgentSpec, Own, TeamSpec
from ..agents.team import Team
from ..errors import Invalid
from ..persistence.reach import Reach, keep_within
from ..persistence.repositories import OwnAgents, OwnTeams
from ..persistence.tables import OwnAgent, OwnTeam
from .journal import Sessions


class Teams:
    """People's own ones are read whenever they are asked for, so that a change holds at once in every process."""

    def __init__(self, known: Mapping[str, Team], sessions: Sessions) -> None:
        self.known = known
        self._sessions = sessions

    async def find(self, name: str, owner_id: UUID) -> Team:
        """One of those that this person can ask. Raises Invalid."""
        if team := self.known.get(name):
            return team
        teams = {team.name: team for team in await self.all(owner_id)}
        if name not in teams:
            raise Invalid(f"There is no team {name!r}; there are: {', '.join(teams)}.", field="team")
        return teams[name]

    async def all(self, owner_id: UUID) -> Sequence[Team]:
        async with self._sessions() as session:
            keep_within(session, Reach(owner_id))
            teams = await OwnTeams(session=session).by_title()
            agents = await OwnAgents(session=session).by_id() if teams else {}
        return [*self.known.values(), *(Own(spec_of(team, agents)) for team in teams if team.name not in self.known)]


def spec_of(team: OwnTeam, agents: Mapping[str, OwnAgent]) -> TeamSpec:
    members = [agents[member] for member in team.members if member in agents]
    return TeamSpec(
        name=team.name,
        title=team.title,
        description=team.description,
        members=[
            AgentSpec(agent.name, agent.role, agent.instructions, agent.model, tuple(agent.tools)) for agent in members
        ],
    )
