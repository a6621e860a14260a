"""Runs at work as they were seen lately: whoever comes back to one reads only what is new."""

from collections import OrderedDict
from uuid import UUID

from .view import RunView

MOST = 200  # runs; of one with a long reply this keeps about 100 kB


class Lately:
    def __init__(self) -> None:
        self._views: OrderedDict[UUID, RunView] = OrderedDict()

    def seen(self, run_id: UUID, message_id: UUID) -> RunView:
        """How far the run is known, for the caller to go on with; perhaps not at all."""
        view = self._views.get(run_id)
        return view.copy() if view else RunView(run_id, message_id)

    def keep(self, view: RunView) -> None:
        """What has ended is read without its chunks, and need not be kept."""
        known = self._views.pop(view.run_id, None)
        if not view.running:
            return
        self._views[view.run_id] = known if known and known.seq >= view.seq else view.copy()
        if len(self._views) > MOST:
            self._views.popitem(last=False)
