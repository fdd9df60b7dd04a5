"""One smoke test of the unmodified experiment, by the very code that runs a campaign, and nothing kept of it."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..campaign.campaign import Options, create_campaign
from ..campaign.errors import Interrupted
from ..campaign.idea import Idea
from ..campaign.journal import Journal
from ..campaign.open_campaign import OpenCampaign
from ..campaign.protocols import NOT_EXITED, Silent
from ..campaign.stop import Stop
from ..campaign.temporary import TemporaryFolder, remove_left
from ..campaign.turn import AttemptFailure
from ..execution.attempts import Attempts
from ..execution.executions import Executions
from ..execution.executors import find_executor
from ..report.recorder import Recorder

_IDEA = Idea(Name="smoke_test", Title="A smoke test", Experiment="The unmodified experiment.")


@dataclass(frozen=True)
class SmokeTest:
    """How it went: what is in the way, or None; seconds; whether its time was over before it ended, it ended well, and it
    makes its out_dir itself; where it did not exit, what is said of that."""

    failure: AttemptFailure | None
    seconds: float
    is_cut: bool
    ended_well: bool
    makes_out_dir: bool
    hung: str


def smoke_test_baseline(
    experiment: Path, options: Options, python: str = sys.executable, runs: Path | None = None
) -> SmokeTest:
    """Execute `experiment` once for as long as a smoke test takes, with `options`' profile, overrides and executor, in a
    temporary folder; under HARNESS_SMOKE=1 where it honours that. Where other machines execute it, they share the folder of
    campaigns (`runs`), so the temporary one lies in that.

    Raises HarnessError where no campaign could begin. Ctrl-C ends the experiment before KeyboardInterrupt goes on.
    """
    shared = runs.absolute() if runs and options.executor != "local" else None
    if shared:
        shared.mkdir(parents=True, exist_ok=True)
        remove_left(shared)
    with TemporaryFolder(shared) as folder:
        campaign = create_campaign(Path(folder, "runs"), _IDEA, experiment, options, python=python)
        stop = Stop()
        opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), stop)
        # However much others have of this machine: it is over in a moment.
        settings = options.executor_settings | ({"shares": False} if options.executor == "local" else {})
        executions = Executions(opened, find_executor(options.executor, settings))
        Recorder(opened, executions).start()
        attempts = Attempts(opened, executions)
        try:
            failure = attempts.try_baseline()
        except KeyboardInterrupt:
            stop.at_once = True
            with suppress(Interrupted):
                attempts.try_baseline()  # finds the experiment that still runs, and ends it
            raise
        outcome = opened.journal.result("run_0/smoke_test")["outcome"]
        makes_out_dir = executions.makes_out_dir(opened.first_commit)
        ended = outcome["ended"]
        hung = outcome["why"] if outcome["why"].startswith(NOT_EXITED) else ""
        return SmokeTest(failure, outcome["seconds"], ended == "timed_out", ended == "ok", makes_out_dir, hung)
