"""Runs at work as they are told here or were seen lately: whoever comes to one reads only what is new."""

from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

from ..agents.events import Event, Start
from .view import RunView

MOST = 200  # runs; of one with a long reply this keeps about 100 kB


class Lately:
    def __init__(self) -> None:
        self._views: OrderedDict[UUID, RunView] = OrderedDict()

    def seen(self, run_id: UUID, message_id: UUID) -> RunView:
        """How far the run is known, for the caller to go on with; perhaps not at all."""
        view = self._views.get(run_id)
        return view.copy() if view else RunView(run_id, message_id)

    def advance(self, run_id: UUID, events: Iterable[Event]) -> None:
        """What this process has just saved, in order. A run of which something is missing here is let go."""
        for event in events:
            if isinstance(event, Start):
                self.keep(RunView(run_id, event.message_id))
            view = self._views.get(run_id)
            if view is None or event.seq <= view.seq:  # a reader of the log can have been quicker
                continue
            contiguous = event.seq == view.seq + 1
            if contiguous:
                view.apply(event)
            if not contiguous or not view.running:
                self.forget(run_id)

    def forget(self, run_id: UUID) -> None:
        self._views.pop(run_id, None)

    def views(self) -> list[RunView]:
        """For the caller to look at, and not to keep."""
        return [*self._views.values()]

    def keep(self, view: RunView) -> None:
        """What has ended is read without its chunks, and need not be kept."""
        known = self._views.pop(view.run_id, None)
        if not view.running:
            return
        self._views[view.run_id] = known if known and known.seq >= view.seq else view.copy()
        if len(self._views) > MOST:
            self._views.popitem(last=False)
