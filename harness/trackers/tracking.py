"""Tracking: what is recorded is told to the tracker that a person asked for, each run once."""

from __future__ import annotations

import hashlib
from functools import partial

from ..campaign.journal import NotDone
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.protocols import Tracked, Tracker, find_class
from ..campaign.record import Record

_TOLD = {"verdict", "metrics", "seeds"}


TRACKERS: dict[str, str] = {"wandb": "harness.trackers.wandb:WandbTracker"}


def find_tracker(name: str) -> type[Tracker]:
    """The tracker called `name`: a known short name or an import path. Raises InputError."""
    found: type[Tracker] = find_class("tracker", "--track", name, TRACKERS)
    return found


class Tracking(CampaignPart):
    """Tells a tracker of records. Whatever happens there, the campaign goes on."""

    def __init__(self, opened: OpenCampaign) -> None:
        super().__init__(opened)
        self._tracker: Tracker | None = None
        self._warned = False

    def track(self) -> None:
        """Tell of every record that the tracker does not know, or knows with fewer seeds or scores.

        What cannot be told now is tried again after the next run, and by `harness resume`.
        """
        if self._options.track is None:
            return
        for record in self._opened.records:
            digest = hashlib.sha256(record.model_dump_json(include=_TOLD).encode()).hexdigest()
            try:
                self._journal.once(f"run_{record.run}/track_{digest[:12]}", partial(self._tell, record))
            except NotDone:
                return
            except Exception as error:  # a tracker may raise anything, and no campaign ends for its sake
                if not self._warned:
                    self._view.say(f"--track {self._options.track}: {type(error).__name__}: {error}. The campaign goes on.")
                    self._warned = True
                return

    def close(self) -> None:
        """Let go of the tracker."""
        if self._tracker is not None:
            tracker, self._tracker = self._tracker, None
            try:
                tracker.close()
            except Exception as error:  # as above
                self._view.say(f"--track {self._options.track}: {type(error).__name__}: {error}")

    def _tell(self, record: Record) -> None:
        from ..results.curves import read_curves  # here: only who tracks needs it

        if self._tracker is None:
            self._tracker = find_tracker(self._options.track or "")()
        campaign, prefix = self._campaign, f"run_{record.run}/track_"
        again = any(event["step"].startswith(prefix) for event in self._journal.of("done", f"run_{record.run}/"))
        log = campaign.run_folder(record.run) / campaign.contract.training_log
        self._tracker.log(
            Tracked(
                id=f"{self._journal.result('start')['commit'][:12]}-{record.run}",
                campaign=campaign.name,
                title=campaign.idea.Title,
                profile=self._options.profile,
                record=record,
                curves={} if again else read_curves(log),
                folder=campaign.local / "track",
            )
        )
