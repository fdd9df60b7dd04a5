"""Scoring a recorded run again, by other evals than each run gets, from what it handed over."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from ..campaign.errors import CannotGoOn, InputError
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.protocols import EVALS, SKIPPED
from ..campaign.record import Record
from .executions import Executions
from .filing import file_scores
from .jobs import Variant
from .measurements import FINAL


class Rescoring(CampaignPart):
    """Scores the seeds of a run of one campaign."""

    def __init__(self, opened: OpenCampaign, executions: Executions) -> None:
        super().__init__(opened)
        self._executions = executions

    def score(self, record: Record, evals: str) -> list[str]:
        """Score each seed of a run by `evals`, names separated by spaces, and file what comes under the run. Returns why
        evals were skipped, a sentence each.

        Raises InputError where the profile is not scored by evals, CannotGoOn where the run cannot be scored.
        """
        settings = self._campaign.spec(self._options.profile).settings
        if not self._campaign.contract.scorer or EVALS not in settings:
            raise InputError(
                f"--evals {evals}: profile {self._options.profile} is not scored by evals; its contract has no scorer that "
                f"takes a setting `{EVALS}`."
            )
        skipped: list[str] = []
        for seed in record.seeds or [self._campaign.contract.seed]:
            step = f"run_{record.run}/scored_{'+'.join(evals.split())}_{seed}"
            result = self._journal.once(step, partial(self._perform, record, seed, step, evals))
            self._executions.forget(step)
            skipped += [f"seed {seed}: {name} was not evaluated: {why}" for name, why in result["skipped"].items()]
        return skipped

    def _perform(self, record: Record, seed: int, step: str, evals: str) -> dict[str, Any]:
        run = record.run
        first = seed == self._campaign.contract.seed
        folder = self._campaign.run_folder(run) if first else self._campaign.seed_folder(run, seed)
        self._view.begin(run, self._options.max_runs, 0, f"score, seed {seed}")
        variant = Variant(seed, {**record.overrides, EVALS: evals})
        with self._stop.polled():
            self._executions.prepare(variant)
            scoring = self._executions.score_again(step, record.commit, folder, self._handed(run, seed), variant)
        if scoring.refused:
            raise CannotGoOn(f"run {run}, seed {seed}: {scoring.refused}")
        skipped = _skipped(scoring.scores / SKIPPED)
        file_scores(scoring.scores, folder, "_".join(evals.split()))
        return {"seconds": scoring.seconds, "skipped": skipped}

    def _handed(self, run: int, seed: int) -> dict[str, str]:
        """The checksums of what the run handed over, as the journal has them; none for a baseline that was kept from
        another campaign."""
        own = re.compile(
            rf"run_{run}/(.*/)?execute" if seed == self._campaign.contract.seed else rf"run_{run}/(seed|{FINAL})_{seed}"
        )
        results = [e["result"] for e in self._journal.of("done") if own.fullmatch(e["step"])]
        found = [result["scoring"] for result in results if not result["failure"] and result.get("scoring")]
        return dict(found[-1]["artifact"]) if found else {}


def _skipped(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["skipped"]
    except FileNotFoundError:
        return {}
    return {str(name): str(why) for name, why in found.items()}
