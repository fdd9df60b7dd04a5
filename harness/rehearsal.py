"""A rehearsal: one smoke run of the untouched experiment, by the very code that runs a campaign, and nothing kept of it."""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .at_work import AtWork
from .brief import Trouble
from .campaign import Options, create_campaign
from .errors import Interrupted
from .idea import Idea
from .journal import Journal
from .recording import Recorder
from .stop import Stop
from .trial import Trials
from .turn import Turn
from .view import Silent

_IDEA = Idea(Name="rehearsal", Title="A rehearsal", Experiment="The untouched experiment.")


@dataclass(frozen=True)
class Rehearsal:
    """How it went: what is in the way, or None; seconds."""

    trouble: Trouble | None
    seconds: float


def rehearse(experiment: Path, options: Options, python: str = sys.executable) -> Rehearsal | None:
    """Execute `experiment` once under HARNESS_SMOKE=1, with `options`' profile and overrides, in a temporary folder.

    Returns None for an experiment that has no smoke run. Raises HarnessError where no campaign could begin. Ctrl-C ends the
    experiment before KeyboardInterrupt goes on.
    """
    with tempfile.TemporaryDirectory(prefix="harness-rehearsal-") as folder:
        campaign = create_campaign(Path(folder), _IDEA, experiment, options, python=python)
        if not campaign.contract.smoke:
            return None
        stop = Stop()
        work = AtWork.begin(campaign, Journal(campaign.journal), Silent(), stop, "local")
        Recorder(work).start()
        trials = Trials(work)
        turn = Turn(run=0, attempt=1, commit=work.journal.result("start")["commit"])
        try:
            trouble = trials.smoke(turn)
        except KeyboardInterrupt:
            stop.at_once = True
            with suppress(Interrupted):
                trials.smoke(turn)  # finds the experiment that still runs, and ends it
            raise
        seconds = work.journal.result(f"{turn.key}/smoke")["outcome"]["seconds"]
        return Rehearsal(trouble, seconds)
