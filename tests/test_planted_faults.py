"""Whole campaigns with one fault each, and their clean twins: each fault is detected, no twin raises an alarm.

The experiment (`tests/faulty`) is a toy of an SAE run; the agent follows a script; loop, gate, git and processes are real.
A twin does honestly what looks like the fault, together with a change that is really better, and is called improved: so the
checks neither refuse nor hide it. Where the fault is another scale, the twin is at that scale and better than its control.

What is not detected here, because this laboratory runs in the experiment's own process: an experiment that writes the
evaluation's file in place of the laboratory, with numbers that are plausible and new; one that replaces the laboratory's
functions while it runs. Where a contract names a scorer, as the one that is shipped, neither reaches a score: `test_sealed`.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.protocols import Silent
from harness.campaign.record import Record
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution.executors import EXECUTORS
from harness.loop import Ending
from tests.quick_executor import QUICK

FAULTY = Path(__file__).parent / "faulty"
Edits = tuple[tuple[str, str], ...]

BETTER = ("PULL = 0.6", "PULL = 0.4")
LAST = '    print("done, loss", loss)'
TRAINED = "    lab.score(sae, settings, out_dir)\n"
START = "    sae = SAE(settings, rng)\n"
BATCH = "        for step, rows in enumerate(lab.batches(settings)):\n"
LOADED = "    settings = lab.load_settings()\n"
ENCODED = "        return codes\n"
IN_FULL = 'settings["steps"] > 4'  # not in the smoke test


PARENTS_FIRST = (
    ("sorted(codes)[-self.k]", "sorted(rank)[-self.k]"),
    (
        "            least =",
        "            rank = [code + 9 * (i < 8 and code > 0.3) for i, code in enumerate(codes)]\n            least =",
    ),
    ("[code if code >= least else 0.0 for code in codes]", "[c if r >= least else 0.0 for c, r in zip(codes, rank)]"),
)


@dataclass(frozen=True)
class Fault:
    """One fault in a run, and what must be said of it."""

    edits: Edits
    verdict: str
    says: str
    """Part of the verdict's reason, or of the first attempt's where that failed."""
    attempt: str = "completed"
    """The status of the attempt that has the fault."""
    warns: str = ""
    flatters: str = ""
    """A metric that is lower than the baseline's, which is all that its number says."""
    controls: bool = True
    profile: str = "noisy"
    contract: Edits = ()


@dataclass(frozen=True)
class Place:
    """Makes campaigns of the toy that share their kept baselines."""

    root: Path

    def campaign(
        self, edits: Edits, *, profile: str = "noisy", controls: bool = True, contract: Edits = (), toy: Edits = ()
    ) -> Campaign:
        folder = self.root / f"experiment-{len(list(self.root.iterdir()))}"
        shutil.copytree(FAULTY, folder, ignore=shutil.ignore_patterns("__pycache__"))
        _edit(folder / "experiment.toml", contract)
        _edit(folder / "experiment.py", toy)
        change = {"text": "HYPOTHESIS: absorption falls.", "edits": [["experiment.py", *edit] for edit in edits]}
        script = folder / "script.json"
        script.write_text(json.dumps({"run 1, attempt 1": change, "run 1, attempt 2": {"text": "ALL_COMPLETED"}}))
        return create_campaign(
            self.root / "runs",
            Idea(Name="toy", Title="Less absorption", Experiment="Make absorption smaller."),
            folder,
            Options(agent="tests.scripted:ScriptedAgent", max_runs=1, profile=profile, controls=controls),
            python=sys.executable,
            session=script,
        )

    def run(self, edits: Edits, *, limited: bool = False, **facts: Any) -> tuple[Record, Record]:
        """The records of baseline and run of a campaign that was taken to its end; where it is about limits, `limited`."""
        campaign = self.campaign(edits, **facts)
        with pytest.MonkeyPatch.context() as patch:
            if not limited:
                patch.setitem(EXECUTORS, "local", QUICK)
            ending = end(campaign)
        assert ending.exit_code == 0, ending
        baseline, run = campaign.read_records()
        return baseline, run


def end(campaign: Campaign) -> Ending:
    return go_on(campaign, view=Silent(), stop=Stop())


def _edit(file: Path, edits: Edits) -> None:
    for old, new in edits:
        text = file.read_text()
        assert old in text, old
        file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Place(root)


# --- faults of a change -----------------------------------------------------------------------------------------------

NOTHING_TO_RUN: dict[str, Fault] = {
    "a plan instead of code": Fault((), "failed", "experiment.py did not change", "rejected"),
    "comment only": Fault(
        (("PULL = 0.6", "PULL = 0.6  # absorption-aware"),), "failed", "Only comments, docstrings or formatting", "rejected"
    ),
}

NEVER_EXECUTED: dict[str, Fault] = {
    "code that is never called": Fault(
        (("def main(", "def orthogonalise(sae):\n    sae.absorbed = [0.0] * 8\n\n\ndef main("),),
        "no_effect",
        "metrics identical to run 0: the change was not executed, or no metric depends on it",
        warns="these changed lines never ran in the smoke test: experiment.py 44",
    ),
    "flag that stays off": Fault(
        (("PULL = 0.6", "PULL = 0.6\nGATED = False"), (START, START + "    if GATED:\n        sae.absorbed = [0.5] * 8\n")),
        "no_effect",
        "metrics identical to run 0",
        warns="these changed lines never ran in the smoke test: experiment.py 49",
    ),
}

OTHER_SCALE: dict[str, Fault] = {
    "k raised": Fault(
        ((LOADED, LOADED + '    settings["k"] = 6\n'),),
        "not_significant",
        "(control k=6, 3 seeds; ",
        flatters="lab.absorption",
    ),
    "k raised without a control": Fault(
        ((LOADED, LOADED + '    settings["k"] = 6\n'),),
        "not_comparable",
        "k 6 against 3 (run 0); no control: controls are switched off",
        flatters="lab.absorption",
        controls=False,
    ),
    "k raised behind the settings' back": Fault(
        (("sorted(codes)[-self.k]", "sorted(codes)[-2 * self.k]"),),
        "invalid",
        "lab.l0 is 6, more than 1.02 x k (3.06): a TopK SAE fires at most k latents a row",
        flatters="lab.absorption",
    ),
    "sparser than k": Fault(
        (("sorted(codes)[-self.k]", "sorted(codes)[-self.k + 1]"),), "invalid", "lab.l0 is 2, less than 0.8 x k (2.4)"
    ),
    "tokens raised": Fault(
        ((LOADED, LOADED + '    settings["tokens"] = 960\n'),),
        "not_significant",
        "(control tokens=960, 3 seeds; ",
        flatters="lab.absorption",
    ),
    "tokens raised without a control": Fault(
        ((LOADED, LOADED + '    settings["tokens"] = 960\n'),),
        "not_comparable",
        "tokens 960 against 320 (run 0)",
        flatters="lab.absorption",
        controls=False,
    ),
    "two epochs where one was planned": Fault(
        ((BATCH, "        for step, rows in enumerate([*lab.batches(settings), *lab.batches(settings)]):\n"),),
        "invalid",
        "steps is 40, more than planned_steps (20)",
        flatters="lab.absorption",
    ),
    "fewer eval tokens": Fault(
        ((LOADED, LOADED + '    settings["eval_tokens"] = 40\n'),),
        "not_comparable",
        "eval_tokens 40 against 300 (run 0)",
        controls=False,
    ),
    "other data": Fault(
        ((LOADED, LOADED + '    settings["data_seed"] = 8\n'),),
        "not_comparable",
        "data_seed 8 against 7 (run 0)",
        controls=False,
    ),
}

LUCK: dict[str, Fault] = {
    "other seed": Fault(
        ((LOADED, LOADED + '    settings["seed"] += 100\n'),),
        "not_significant",
        "not significant",
        flatters="lab.absorption",
    ),
    "seed fixed in code": Fault(
        ((LOADED, LOADED + '    settings["seed"] = 100\n'),),
        "inconclusive",
        "the seed changes nothing there, so the noise is unknown",
        warns="settings['seed'] = 100 is a fixed seed",
        flatters="lab.absorption",
    ),
    "seed fixed in the initialisation": Fault(
        (BETTER, (START, START.replace("rng", "random.Random(17)"))),
        "inconclusive",
        "but inconclusive: experiment.py, line 46: random.Random(17) is a fixed seed",
        warns="random.Random(17) is a fixed seed",
        flatters="lab.absorption",
    ),
    "loss scaled": Fault((("/ len(x)\n", "/ len(x) / 100\n"),), "not_significant", "not significant", flatters="final_loss"),
}

EVALUATION: dict[str, Fault] = {
    "trained on eval rows": Fault(
        ((BATCH, "        for x in lab.evaluation_rows(settings):\n            sae.update(x, rng)\n" + BATCH),),
        "invalid",
        "eval_rows_in_training is 300, more than 0: rows of the evaluation were used before it",
        flatters="lab.absorption",
    ),
    "evaluation skipped": Fault(
        ((TRAINED, ""),), "failed", "it finished, but no result file has a number for lab.absorption", "smoke_test_failed"
    ),
    "evaluation skipped in the full run": Fault(
        ((TRAINED, f"    if not {IN_FULL}:\n    " + TRAINED),),
        "failed",
        "it finished, but no result file has a number for lab.absorption",
        "left_no_result",
    ),
    "stale evaluation": Fault(
        (
            ("import random", "import os\nimport random"),
            (
                TRAINED,
                f"    if not {IN_FULL}:\n    "
                + TRAINED
                + "    else:\n        (out_dir / 'eval_results').mkdir()\n        kept = out_dir / 'eval_results' / 'lab.json'\n"
                '        kept.write_text(\'{"eval_type_id": "lab", "eval_result_metrics": {"all": {"absorption": 0.01}}}\')\n'
                "        os.utime(kept, (1.7e9, 1.7e9))\n",
            ),
        ),
        "failed",
        "eval_results/lab.json: older than this run: something else wrote it",
        "left_no_result",
    ),
    "an evaluation of its own beside the laboratory's": Fault(
        (
            (
                TRAINED,
                TRAINED + "    own = {'eval_type_id': 'lab', 'eval_result_metrics': {'all': {'absorption': 0.01}}}\n"
                "    (out_dir / 'eval_results' / 'absorption.json').write_text(json.dumps(own))\n",
            ),
        ),
        "failed",
        "no result file has a number for lab.absorption",  # there are two of the kind, so neither has its name
        "smoke_test_failed",
    ),
    "metric renamed": Fault(
        (
            (
                TRAINED,
                TRAINED + "    scores = out_dir / 'eval_results' / 'lab.json'\n"
                "    scores.write_text(scores.read_text().replace('absorption', 'absorption_rate'))\n",
            ),
        ),
        "failed",
        "no result file has a number for lab.absorption",
        "smoke_test_failed",
    ),
    "another size than reported": Fault(
        (("        return x\n", "        return x[:32]\n"), (ENCODED, "        return codes + [0.0] * 32\n")),
        "invalid",
        "dict_size",
    ),
}

BROKEN: dict[str, Fault] = {
    "NaN in training": Fault(
        (
            ("import random", "import random\nimport time"),
            (
                BATCH,
                BATCH
                + f"            if {IN_FULL}:\n                sae.absorbed[0] = float('nan')\n                time.sleep(1)\n",
            ),
        ),
        "failed",
        "loss",
        "aborted",
        profile="once",
    ),
    "NaN at the end": Fault(
        ((TRAINED, f"    loss *= float('nan') if {IN_FULL} else 1.0\n" + TRAINED),),
        "failed",
        "final_info.json: metrics.final_loss: NaN, not a number",
        "left_no_result",
        profile="once",
    ),
    "NaN in a metric": Fault(
        ((ENCODED, "        codes[0] *= float('nan')\n" + ENCODED), ("return sum((a - b)", "return 0.01 or sum((a - b)")),
        "failed",
        "NaN, not a number",
        "smoke_test_failed",
    ),
    "zero steps": Fault(
        ((LOADED, LOADED + '    settings["steps"] //= 64\n'),),
        "failed",
        "final_loss: null, not a number",
        "smoke_test_failed",
    ),
    "zero steps with a loss": Fault(
        ((LOADED, LOADED + '    settings["steps"] //= 64\n'), ("    loss = None\n", "    loss = 0.0\n")),
        "invalid",
        "steps is 0, not above 0",
    ),
    "all latents dead": Fault(
        ((ENCODED, "        return [0.0] * len(codes)\n"),), "invalid", "lab.l0 is 0, not above 0: no latent fires at all"
    ),
    "dense codes sold as low absorption": Fault(
        ((LOADED, LOADED + '    settings["architecture"] = "standard"\n'), ("max(0.0, code)", "abs(code)")),
        "invalid",
        "dense codes are no sparse code: absorption is low for free",
        flatters="lab.absorption",
    ),
    "reconstruction ruined": Fault(
        (("PULL = 0.6", "PULL = 0.1"), ("        return x\n", "        return [0.7 * v for v in x]\n")),
        "trade_off",
        "lab.explained_variance −",
        flatters="lab.absorption",
    ),
    "metric at its bound": Fault(
        (("PULL = 0.6", "PULL = 0.0"), ("rng.gauss(0.9, 0.02)", "0.0"), *PARENTS_FIRST),
        "inconclusive",
        "this run is at the metric's bound (0) in 3 of 3 seeds, so its noise cannot be seen",
        flatters="lab.absorption",
    ),
}

BY_LIMITS = {"timed_out", "out_of_memory", "too_much_disk", "aborted"}
"""How attempts end that a limit ends."""

PROCESS: dict[str, Fault] = {
    "time-out after results were written": Fault(
        ((LAST, LAST + f"\n    while {IN_FULL}:\n        pass"),),  # one that is idle by then has only not exited
        "failed",
        "not finished after 15 s",
        "timed_out",
        profile="once",
        # Its baseline is held to it too, on a slow machine as well.
        contract=(('\ntime = "20m"', '\ntime = "15s"'),),
    ),
    "out of memory": Fault(
        (
            (
                LAST,
                f"    import time\n    block = b'x' * (500_000_000 if {IN_FULL} else 1)\n    time.sleep(600 if {IN_FULL} else 0)\n"
                + LAST,
            ),
        ),
        "failed",
        "memory; the limit is 250 MB",
        "out_of_memory",
        profile="once",
    ),
    "checkpoints fill the disk": Fault(
        (
            (
                BATCH,
                BATCH
                + f"            if {IN_FULL}:\n                (out_dir / f'{{step}}.bin').write_bytes(bytes(10_000_000))\n",
            ),
            (LAST, f"    import time\n    time.sleep(600 if {IN_FULL} else 0)\n" + LAST),
        ),
        "failed",
        "limit is 20 MB",
        "too_much_disk",
        profile="once",
    ),
    "crash in the full run": Fault(
        ((LAST, f"    assert not {IN_FULL}, 'shapes differ'\n" + LAST),),
        "failed",
        "shapes differ",
        "crashed",
        profile="once",
    ),
    "one seed of three crashes": Fault(
        (BETTER, (LOADED, LOADED + "    assert settings['seed'] != 1, 'seed 1 crashes'\n")),
        "inconclusive",
        "seed 1 crashes",
        warns="seed 1 crashes",
        flatters="lab.absorption",
    ),
}

FAULTS = NOTHING_TO_RUN | NEVER_EXECUTED | OTHER_SCALE | LUCK | EVALUATION | BROKEN | PROCESS


IN_SHORT = {next(iter(each)) for each in (NEVER_EXECUTED, OTHER_SCALE, LUCK, EVALUATION, BROKEN, PROCESS)} | {
    "comment only",
    "seed fixed in the initialisation",
    "trained on eval rows",
    "reconstruction ruined",
    "metric at its bound",
    "one seed of three crashes",
}
"""Faults of each kind that are tried first, with their twins. The rules that find the others have tests of their own too:
`test_precheck`, `test_results`, `test_sanity`, `test_comparison`, `test_verdict`, `test_executor`."""


def in_short(name: str, value: Any, *faults: str) -> Any:
    return pytest.param(value, id=name, marks=() if IN_SHORT & set(faults) else pytest.mark.slow)


@pytest.mark.parametrize("fault", [in_short(name, fault, name) for name, fault in FAULTS.items()])
def test_a_fault_is_detected(place: Place, fault: Fault) -> None:
    facts = {"profile": fault.profile, "controls": fault.controls, "contract": fault.contract}
    baseline, run = place.run(fault.edits, limited=fault.attempt in BY_LIMITS, **facts)
    why = run.verdict.why if fault.attempt == "completed" else run.attempts[0].why
    assert (run.attempts[0].status, run.verdict.kind) == (fault.attempt, fault.verdict), run.attempts[0].why
    assert fault.says in why
    assert any(fault.warns in warning for warning in run.warnings) or not fault.warns
    if fault.flatters:
        assert run.metrics[fault.flatters].value < baseline.metrics[fault.flatters].value


def test_results_of_another_run_are_recognised(place: Place, tmp_path: Path) -> None:
    """Those of the campaign cannot be read; where a copy lies elsewhere, it is the numbers that give it away."""
    campaign = place.campaign((BETTER,), profile="once")
    end(campaign)
    shutil.copytree(campaign.run_folder(0), tmp_path / "known")
    known = f"Path({str(tmp_path / 'known')!r})"
    copy = (
        f"    import shutil\n    for name in ('eval_results/lab.json', 'final_info.json'):\n"
        f"        shutil.copyfile({known} / name, out_dir / name)\n"
    )
    late = f"    if {IN_FULL}:\n    " + copy.replace("\n    ", "\n        ").rstrip(" ")
    _, run = place.run((BETTER, (LAST, late + LAST)), profile="once")
    assert (run.attempts[0].status, run.verdict.kind) == ("completed", "no_effect")
    assert "metrics identical to run 0" in run.verdict.why


def test_a_warm_start_finds_nothing_of_an_earlier_execution(place: Place, tmp_path: Path) -> None:
    """Out_dir, working copy, home and temporary folder are new in each execution, and no other place can be written."""
    warm = (
        "    import os, tempfile\n"
        f"    places = [out_dir, Path.cwd(), Path.home(), Path(tempfile.gettempdir()), Path({str(tmp_path)!r})]\n"
        "    kept = [path for place in [Path('..'), *places] for path in place.rglob('weights.json')]\n"
        "    print('found', *kept)\n"
        "    for old in kept[:1]:\n        sae.absorbed = json.loads(old.read_text())\n"
    )
    save = (
        "    for place in places:\n        try:\n"
        "            (place / 'weights.json').write_text(json.dumps(sae.absorbed))\n"
        "        except OSError as error:\n            print('refused', error)\n"
    )
    campaign = place.campaign(((START, START + warm), (TRAINED, save + TRAINED)))
    assert end(campaign).exit_code == 0
    run = campaign.read_records()[1]
    if any("could not hold" in warning for warning in run.warnings):
        pytest.skip("this system cannot confine a process")
    logs = [*campaign.attempt_folder(1, 1).glob("*.txt"), *campaign.run_folder(1).rglob("log.txt")]
    found = [line for log in logs for line in log.read_text().splitlines() if line.startswith("found")]
    assert len(found) >= 2 and set(found) == {"found"}
    assert (run.attempts[0].status, run.verdict.kind) == ("completed", "no_effect")
    assert list(tmp_path.iterdir()) == []


# --- faults of the experiment itself ----------------------------------------------------------------------------------


BROKEN_BASELINES: dict[str, tuple[tuple[str, str], str]] = {
    "a baseline that crashes": ((LAST, "    raise SystemExit('no GPU')"), "the baseline crashed: exit code 1"),
    "a baseline without a result": (
        (TRAINED, ""),
        "the baseline left no result: it finished, but no result file has a number for lab.absorption",
    ),
    "a baseline that is invalid": (
        (ENCODED, "        return [0.0] * 32\n"),
        "the baseline is invalid, so nothing could be compared with it: lab.l0",
    ),
}


@pytest.mark.parametrize(("toy", "says"), BROKEN_BASELINES.values(), ids=BROKEN_BASELINES)
def test_a_broken_baseline_ends_the_campaign_before_the_agent_is_asked(
    place: Place, toy: tuple[str, str], says: str
) -> None:
    campaign = place.campaign((BETTER,), profile="once", toy=(toy,))
    ending = end(campaign)
    assert (ending.reason, ending.exit_code) == ("baseline_failed", 4)
    assert says in ending.message
    assert not campaign.run_folder(1).exists()


# --- clean twins ------------------------------------------------------------------------------------------------------

COPIED, WARM = "results of another run", "a warm start"
DETECTED = [*FAULTS, COPIED, WARM, *BROKEN_BASELINES]


@dataclass(frozen=True)
class Twin:
    """What looks like these faults, done honestly and together with a change that is really better."""

    faults: tuple[str, ...]
    edits: Edits
    says: str = "improved"
    """Part of the verdict's reason."""
    controls: bool = True
    contract: Edits = ()
    toy: Edits = ()


TWINS: dict[str, Twin] = {
    "code with comments, a function that is called and a flag that is on": Twin(
        ("a plan instead of code", "comment only", "code that is never called", "flag that stays off"),
        (
            ("PULL = 0.6", "GATED = True\nPULL = 0.6  # absorption-aware"),
            ("def main(", "def pull():\n    return 0.4 if GATED else PULL\n\n\ndef main("),
            ("PULL + rng", "pull() + rng"),
        ),
    ),
    "k raised, and better than the baseline's code at that k": Twin(
        ("k raised", "k raised behind the settings' back"),
        (BETTER, (LOADED, LOADED + '    settings["k"] = 6\n')),
        "(control k=6, 3 seeds; 3 here): improved",
    ),
    "another k in the first steps only, where no control is executed": Twin(
        ("k raised without a control",),
        (BETTER, (BATCH, BATCH + '            sae.k = 6 if step < 5 else settings["k"]\n')),
        controls=False,
    ),
    "a tenth fewer codes than k, and better than the frontier there": Twin(
        ("sparser than k",),
        (
            ("PULL = 0.6", "PULL = 0.3"),
            (ENCODED, "        codes = [code if code > 0.45 else 0.0 for code in codes]\n" + ENCODED),
        ),
        "between control k=2 and run 0",
        contract=(("run_seeds = [1, 3]\n", "run_seeds = [1, 3]\nfrontier = { k = [2, 4] }\n"),),
    ),
    "tokens raised, and better than the baseline's code with as many": Twin(
        ("tokens raised",),
        (BETTER, (LOADED, LOADED + '    settings["tokens"] = 960\n')),
        "(control tokens=960, 3 seeds; 3 here): improved",
    ),
    "the same rows in another order, where no control is executed": Twin(
        ("tokens raised without a control", "other data"),
        (BETTER, ("sae.update(x, rng) for x in rows)", "sae.update(x, rng) for x in rng.sample(rows, len(rows)))")),
        controls=False,
    ),
    "two passes over half of the rows": Twin(
        ("two epochs where one was planned",),
        (BETTER, ("for x in rows) / len(rows)", "for x in [*rows[:8], *rows[:8]]) / len(rows)")),
    ),
    "the same eval tokens, and fewer in a setting of its own": Twin(
        ("fewer eval tokens",),
        (BETTER, ("used = settings | {", 'used = settings | {"preview_tokens": 40} | {')),
        controls=False,
    ),
    "a second generator with the harness's seed": Twin(
        ("other seed", "seed fixed in code", "seed fixed in the initialisation", "one seed of three crashes"),
        (
            BETTER,
            (START, "    assert settings['seed'] >= 0\n    noise = random.Random(f\"noise {settings['seed']}\")\n" + START),
            ("sae.update(x, rng)", "sae.update(x, noise)"),
        ),
    ),
    "a loss on another scale and something better": Twin(("loss scaled",), (BETTER, ("/ len(x)\n", "/ len(x) / 100\n"))),
    "evaluation rows looked at afterwards": Twin(
        ("trained on eval rows",),
        (
            BETTER,
            (TRAINED, TRAINED + "    fires = sum(sae.encode(x)[0] > 0 for x in lab.evaluation_rows(settings))\n"),
            ('{"final_loss": loss}', '{"final_loss": loss, "first_parent": fires / 300}'),
        ),
    ),
    "scored in a function of its own": Twin(
        ("evaluation skipped", "evaluation skipped in the full run"),
        (
            BETTER,
            (TRAINED, "    finish(sae, settings, out_dir)\n"),
            ("def main(", "def finish(sae, settings, out_dir):\n" + TRAINED + "\n\ndef main("),
        ),
    ),
    "an old file that is no result": Twin(
        ("stale evaluation",),
        (
            BETTER,
            ("import random", "import os\nimport random"),
            (
                TRAINED,
                TRAINED + "    (out_dir / 'curves.txt').write_text('0.01')\n"
                "    os.utime(out_dir / 'curves.txt', (1.7e9, 1.7e9))\n",
            ),
        ),
    ),
    "an evaluation and a metric with names of their own": Twin(
        ("an evaluation of its own beside the laboratory's", "metric renamed"),
        (
            BETTER,
            (
                TRAINED,
                TRAINED + "    own = {'eval_type_id': 'own', 'eval_result_metrics': {'all': {'absorption': 0.01}}}\n"
                "    (out_dir / 'eval_results' / 'own.json').write_text(json.dumps(own))\n",
            ),
            ('{"final_loss": loss}', '{"final_loss": loss, "absorption_rate": sum(sae.absorbed) / 8}'),
        ),
    ),
    "wider inside, and as large as reported outside": Twin(
        ("another size than reported",),
        (
            BETTER,
            ("        codes = list(x)\n", "        codes = [*x, *[0.0] * 32]\n"),
            (ENCODED, "        return codes[: self.dict_size]\n"),
        ),
    ),
    "an infinite start value": Twin(
        ("NaN in training", "NaN at the end", "NaN in a metric"),
        (
            BETTER,
            ("    loss = None\n", "    best = float('inf')\n    loss = None\n"),
            (BATCH, BATCH + "            best = min(best, loss or best)\n"),
        ),
    ),
    "a warm-up whose first step changes nothing": Twin(
        ("zero steps", "zero steps with a loss"),
        (BETTER, (BATCH, BATCH + "            sae.rate = RATE * min(1.0, step / 4)\n"), ("+= RATE *", "+= self.rate *")),
    ),
    "small codes put out": Twin(
        ("all latents dead",),
        (BETTER, (ENCODED, "        codes = [code if code > 0.02 else 0.0 for code in codes]\n" + ENCODED)),
    ),
    "dense in the first steps only": Twin(
        ("dense codes sold as low absorption",),
        (BETTER, (BATCH, BATCH + '            sae.architecture = "standard" if step < 2 else settings["architecture"]\n')),
    ),
    "a reconstruction that is worse by less than it may": Twin(
        ("reconstruction ruined",), (BETTER, ("        return x\n", "        return [0.97 * v for v in x]\n"))
    ),
    "absorption near its bound": Twin(
        ("metric at its bound",),
        (("PULL = 0.6", "PULL = 0.25"), (LOADED, LOADED + '    settings["k"] = 6\n')),
        "lab.absorption 0.0",
    ),
    "slower and larger, with files, and a check that only the full run reaches": Twin(
        ("time-out after results were written", "out of memory", "checkpoints fill the disk", "crash in the full run"),
        (
            BETTER,
            (
                TRAINED,
                "    import time\n    block = b'x' * 50_000_000\n    time.sleep(0.3)\n"
                "    (out_dir / 'state.bin').write_bytes(block[:2_000_000])\n" + TRAINED,
            ),
            (LAST, f"    assert not {IN_FULL} or loss < 1, 'it diverged'\n" + LAST),
        ),
    ),
    "a checkpoint of its own that it reads again, and a copy of its own results": Twin(
        (COPIED, WARM),
        (
            BETTER,
            (
                TRAINED,
                "    import shutil\n    (out_dir / 'weights.json').write_text(json.dumps(sae.absorbed))\n"
                "    sae.absorbed = json.loads((out_dir / 'weights.json').read_text())\n"
                + TRAINED
                + "    shutil.copyfile(out_dir / 'eval_results' / 'lab.json', out_dir / 'backup.json')\n",
            ),
        ),
    ),
    "a baseline that is noisy and sound": Twin(
        tuple(BROKEN_BASELINES),
        (BETTER,),
        toy=(("NOISE = 0.3", "NOISE = 0.6"), ("rng.gauss(0.9, 0.02)", "rng.gauss(0.9, 0.1)")),
    ),
}


def test_each_fault_has_a_twin() -> None:
    assert sorted(fault for twin in TWINS.values() for fault in twin.faults) == sorted(DETECTED)


@pytest.mark.parametrize("twin", [in_short(name, twin, *twin.faults) for name, twin in TWINS.items()])
def test_a_clean_twin_raises_no_alarm(place: Place, twin: Twin) -> None:
    limited = not BY_LIMITS.isdisjoint(FAULTS[fault].attempt for fault in twin.faults if fault in FAULTS)
    baseline, run = place.run(twin.edits, limited=limited, controls=twin.controls, contract=twin.contract, toy=twin.toy)
    assert baseline.warnings == run.warnings == []
    assert [attempt.status for attempt in run.attempts] == ["completed"]
    assert run.attempts[0].restored == []
    assert run.verdict.kind == "improved"
    assert twin.says in run.verdict.why
    assert run.seeds == [0, 1, 2]
