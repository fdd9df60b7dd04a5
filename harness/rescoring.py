"""Scoring a recorded run again, by other evals than each run gets, from what it handed over."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from .at_work import AtWork
from .contract import Setting
from .errors import CannotGoOn, InputError
from .execution import file_scores
from .laboratory import EVALS
from .record import Record
from .result_files import SKIPPED


class Rescoring:
    """Scores the seeds of a run of one campaign."""

    def __init__(self, work: AtWork) -> None:
        self._campaign = work.campaign
        self._journal = work.journal
        self._executions = work.executions
        self._options = work.options
        self._view = work.view
        self._stop = work.stop

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
        start = self._journal.result("start")["commit"]
        overrides: dict[str, Setting] = {EVALS: evals}
        with self._stop.polled():
            self._executions.prepare(
                start, overrides=overrides, smoke=False, tick=self._view.tick, stop=lambda: self._stop.at_once
            )
            scoring = self._executions.score_again(
                step,
                start,
                record.commit,
                folder,
                self._handed(run, seed),
                seed=seed,
                overrides=overrides,
                tick=self._view.tick,
                stop=lambda: self._stop.at_once,
            )
        if scoring.refused:
            raise CannotGoOn(f"run {run}, seed {seed}: {scoring.refused}")
        skipped = _skipped(scoring.scores / SKIPPED)
        file_scores(scoring.scores, folder, "_".join(evals.split()))
        return {"seconds": scoring.seconds, "skipped": skipped}

    def _handed(self, run: int, seed: int) -> dict[str, str]:
        """The checksums of what the run handed over, as the journal has them; none for a baseline that was kept from
        another campaign."""
        own = re.compile(
            rf"run_{run}/(.*/)?execute" if seed == self._campaign.contract.seed else rf"run_{run}/seed_{seed}"
        )
        results = [e["result"] for e in self._journal.of("done") if own.fullmatch(e["step"])]
        found = [result["scoring"] for result in results if not result["trouble"] and result.get("scoring")]
        return dict(found[-1]["artifact"]) if found else {}


def _skipped(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["skipped"]
    except FileNotFoundError:
        return {}
    return {str(name): str(why) for name, why in found.items()}
