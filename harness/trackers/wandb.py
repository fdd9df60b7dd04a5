"""Weights & Biases: one run for each run, with the campaign as their group.

What a person set for W&B applies (WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, `wandb login`); the project is `harness` unless
named. Offline, the files are in the campaign's `.harness/track/wandb/`, and `wandb sync` sends them later. Of the machine
nothing is sent but what W&B's own client cannot leave out.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from ..campaign.errors import InputError
from ..campaign.protocols import Tracked

PROJECT = "harness"
_WAIT = 60.0  # seconds for W&B to answer; a campaign does not wait longer for its tracker


class WandbTracker:
    def check(self) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise InputError("--track wandb: the package wandb is not installed here. `pip install wandb` installs it.")
        import wandb  # here: it takes seconds, and nobody else needs it

        online = wandb.setup().settings.mode == "online"
        if online and not wandb.login(prompt=False, verify=False):
            raise InputError("--track wandb: no key. `wandb login` keeps one; WANDB_MODE=offline needs none.")

    def log(self, run: Tracked) -> None:
        import wandb

        record = run.record
        run.folder.mkdir(parents=True, exist_ok=True)
        tracked = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=run.campaign,
            name=f"{run.campaign} run_{record.run}",
            id=run.id,
            resume="allow",
            dir=run.folder,
            job_type="baseline" if record.run == 0 else "run",
            notes=record.hypothesis or None,
            tags=[record.verdict.kind],
            config=_config(run),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                init_timeout=_WAIT,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
            ),
        )
        try:
            tracked.define_metric("train/step")
            tracked.define_metric("train/*", step_metric="train/step")
            for step, numbers in _by_step(run).items():
                tracked.log({"train/step": step, **numbers})
            tracked.summary.update(_summary(run))
        finally:
            tracked.finish()

    def close(self) -> None:
        import wandb

        wandb.teardown()


def _config(run: Tracked) -> dict[str, Any]:
    record = run.record
    facts = {"title": run.title, "profile": run.profile, "commit": record.commit, "parent": record.parent}
    settings = {name: setting.value for name, setting in record.settings.items()}
    return {**settings, "harness": {**facts, "seeds": record.seeds, "given": record.given}}


def _by_step(run: Tracked) -> dict[float, dict[str, float]]:
    found: dict[float, dict[str, float]] = {}
    for key, curve in run.curves.items():
        for step, value in zip(curve.steps, curve.values, strict=True):
            found.setdefault(step, {})[f"train/{key}"] = value
    return dict(sorted(found.items()))


def _summary(run: Tracked) -> dict[str, Any]:
    record = run.record
    found: dict[str, Any] = {"status": record.status, "verdict": record.verdict.kind, "why": record.verdict.why}
    for name, metric in record.metrics.items():
        found[name] = metric.value
        if metric.difference is not None:
            found |= {f"baseline/{name}": metric.baseline, f"difference/{name}": metric.difference}
    return found
