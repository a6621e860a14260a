"""What is shown of a conversation: the messages of one branch, each with the run that wrote it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from ..persistence.repositories import Conversations, Events, Messages, Runs
from ..persistence.tables import Conversation, Message
from ..runs.branches import Tree
from ..runs.history import views_of
from ..runs.journal import Journal
from ..runs.view import RunView
from ..workspace.files import Files

SHOWN = 50  # messages on a page


class Exchange(Struct):
    """`branches`: the messages that stand in the same place, this one among them."""

    message: Message
    run: RunView | None
    branches: Sequence[UUID] = ()


class Part(NamedTuple):
    """`earlier`: the message before which there are more."""

    exchanges: Sequence[Exchange]
    earlier: UUID | None = None

    @property
    def running(self) -> RunView | None:
        return next((each.run for each in self.exchanges if each.run and each.run.running), None)


class Exchanges:
    def __init__(self, messages: Messages, runs: Runs, events: Events, journal: Journal, files: Files) -> None:
        self.messages = messages
        self._runs = runs
        self._events = events
        self._journal = journal
        self._files = files

    async def shown(self, conversation: Conversation, *, before: UUID | None = None, limit: int = SHOWN) -> Part:
        """The end of the branch that is shown, or what comes before one of its messages."""
        tree = Tree(await self.messages.links(conversation.id))
        path = tree.path(conversation.leaf_id)
        if before is not None and before in tree:
            path = tree.path(before)[:-1]
        return Part(await self._exchanges(tree, path[-limit:]), path[-limit] if len(path) > limit else None)

    async def since(self, conversation: Conversation, after: UUID) -> Part | None:
        """What follows a message in the branch that is shown; None if it is not in that branch."""
        tree = Tree(await self.messages.links(conversation.id))
        path = tree.path(conversation.leaf_id)
        if after not in path:
            return None
        return Part(await self._exchanges(tree, path[path.index(after) + 1 :]))

    async def _exchanges(self, tree: Tree, path: Sequence[UUID]) -> Sequence[Exchange]:
        if not path:
            return []
        rows = await self.messages.of_ids(path)
        views = await views_of(rows, self._runs, self._events, self._journal)
        await see_taken_back(views.values(), self._files)
        # What a program said in the role of the system is for the agents.
        return [Exchange(row, views.get(row.id), tree.branches(row.id)) for row in rows if row.role != "system"]

    async def switch(self, conversations: Conversations, message: Message) -> None:
        """Shows the branch of a message from now on."""
        tree = Tree(await self.messages.links(message.conversation_id))
        await conversations.show(message.conversation_id, tree.leaf(message.id))
        await conversations.session.commit()


async def see_taken_back(views: Iterable[RunView], files: Files) -> None:
    """Which changes of files somebody has taken back is not told by the runs that made them."""
    changed = {change.revision_id: view for view in views for change in view.code_changes if change.revision_id}
    for revision_id in await files.taken_back(list(changed)) if changed else ():
        changed[revision_id].taken_back |= {revision_id}
