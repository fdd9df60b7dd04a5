"""Tracking: what is recorded is told to the tracker that a person asked for, each run once."""

from __future__ import annotations

import hashlib
from functools import partial

from .at_work import AtWork
from .journal import NotDone
from .record import Record
from .sinks import Sink, Tracked, find_sink

_TOLD = {"verdict", "metrics", "seeds"}


class Tracker:
    """Tells a sink of records. Whatever happens there, the campaign goes on."""

    def __init__(self, work: AtWork) -> None:
        self._campaign = work.campaign
        self._journal = work.journal
        self._view = work.view
        self._options = work.options
        self._sink: Sink | None = None
        self._warned = False

    def track(self) -> None:
        """Tell of every record that the sink does not know, or knows with fewer seeds or scores.

        What cannot be told now is tried again after the next run, and by `harness resume`.
        """
        if self._options.track is None:
            return
        for record in self._campaign.read_records():
            digest = hashlib.sha256(record.model_dump_json(include=_TOLD).encode()).hexdigest()
            try:
                self._journal.once(f"run_{record.run}/track_{digest[:12]}", partial(self._tell, record))
            except NotDone:
                return
            except Exception as error:  # a tracker may raise anything, and no campaign ends for its sake
                if not self._warned:
                    self._view.say(
                        f"--track {self._options.track}: {type(error).__name__}: {error}. The campaign goes on."
                    )
                    self._warned = True
                return

    def close(self) -> None:
        """Let go of the sink."""
        if self._sink is not None:
            sink, self._sink = self._sink, None
            try:
                sink.close()
            except Exception as error:  # as above
                self._view.say(f"--track {self._options.track}: {type(error).__name__}: {error}")

    def _tell(self, record: Record) -> None:
        from .review.account import read_curves  # here: only who tracks needs it

        if self._sink is None:
            self._sink = find_sink(self._options.track or "")()
        campaign, prefix = self._campaign, f"run_{record.run}/track_"
        again = any(event["step"].startswith(prefix) for event in self._journal.of("done"))
        log = campaign.run_folder(record.run) / campaign.contract.training_log
        self._sink.log(
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
