"""Everything that a browser shows, by controller."""

from litestar import Controller

from .accounts import AccountPages, SignInPages
from .agents import AgentPages
from .conversations import ConversationPages
from .documents import DocumentPages
from .exports import ExportPages, ImportPages
from .files import FilePages, RevisionPages
from .memories import MemoryPages
from .messages import MessagePages
from .people import PeoplePages
from .projects import ProjectPages
from .provider import ProviderPages
from .replays import ReplayPages
from .runs import RunPages
from .sample import SamplePages
from .sharing import SharingPages
from .teams import TeamPages
from .tokens import TokenPages
from .tool_servers import ToolPages

controllers: list[type[Controller]] = [
    ConversationPages,
    ExportPages,
    ImportPages,
    MessagePages,
    RunPages,
    ReplayPages,
    ProjectPages,
    SamplePages,
    FilePages,
    RevisionPages,
    DocumentPages,
    MemoryPages,
    ToolPages,
    AgentPages,
    TeamPages,
    TokenPages,
    SignInPages,
    ProviderPages,
    AccountPages,
    PeoplePages,
    SharingPages,
]
