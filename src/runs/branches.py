"""A conversation as a tree of messages: each branch is one way in which it went."""

from collections.abc import Iterable, Sequence
from uuid import UUID


class Tree:
    """`links`: messages with their parents, in the order in which they were made."""

    def __init__(self, links: Iterable[tuple[UUID, UUID | None]]) -> None:
        self._parents = dict(links)
        self._children: dict[UUID | None, list[UUID]] = {}
        for message_id, parent_id in self._parents.items():
            self._children.setdefault(parent_id, []).append(message_id)

    def __contains__(self, message_id: UUID) -> bool:
        return message_id in self._parents

    def path(self, leaf_id: UUID | None) -> list[UUID]:
        """From the first message to this one; without one, to the newest."""
        at: UUID | None = leaf_id if leaf_id in self._parents else next(reversed(self._parents), None)
        path: list[UUID] = []
        while at in self._parents and at not in path[-1:]:
            assert at is not None
            path.append(at)
            at = self._parents[at]
        return path[::-1]

    def leaf(self, message_id: UUID) -> UUID:
        """Where the branch ends that goes on from a message with the newest one each time."""
        while following := self._children.get(message_id):
            message_id = following[-1]
        return message_id

    def branches(self, message_id: UUID) -> Sequence[UUID]:
        """The messages that stand in the same place, this one among them, the oldest first."""
        return self._children[self._parents[message_id]]
