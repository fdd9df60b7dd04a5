"""Whether a campaign that is killed again and again ends as one that nobody disturbs.

    python bench/kills.py                       500 kills; about half an hour on one core
    python bench/kills.py --kills 20 --seed 1   fewer, at other moments

Campaigns of a small experiment: three seeds of the baseline, stages of 1 and 3 seeds, one attempt each that is rejected,
that fails in the smoke test and that crashes, a run that looks better with one seed and not with two, and an improvement.
While one is at work something of it gets SIGKILL at random moments: the harness, a git, the supervisor of an execution (once
an execution: a second time is taken for the experiment's doing), or the harness with all of its process group. It is taken
up again each time. At the end records, seeds, executions, commits, tags and code must be those of a campaign that was left
alone, and no temporary file is left. "Lost" are executions that were submitted and never ended, "repeated" those that had
ended and were executed again; "differs" is anything else, and "stuck" a campaign that ended with an error twice in a row.
The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.campaign.campaign import Campaign, Options, create_campaign  # noqa: E402
from harness.campaign.idea import Idea  # noqa: E402
from harness.campaign.journal import read_events  # noqa: E402
from harness.campaign.protocols import Job, Outcome, Silent  # noqa: E402
from harness.campaign.stop import Stop  # noqa: E402
from harness.continuation import go_on  # noqa: E402
from harness.execution.executors.home import SUPERVISOR_MARK, Home  # noqa: E402
from harness.execution.executors.local import LocalExecution, LocalExecutor  # noqa: E402
from harness.execution.executors.process_tree import carrying  # noqa: E402
from harness.execution.executors.sandbox import available  # noqa: E402

TEMPORARY = "temporary"
"""In a campaign's folder: its TMPDIR."""
KINDS = ("harness", "git", "supervisor", "process group")
BASELINE, LUCKY, BETTER = {0: 1.0, 1: 1.03, 2: 0.97}, {0: 0.9, 1: 1.1, 2: 0.95}, {0: 0.5, 1: 0.52, 2: 0.49}
RESULTS = """
loss = {}[int(os.environ["HARNESS_SEED"])]
metrics = {{"loss": loss, "distance": 1.0}}
(out / "final_info.json").write_text(json.dumps({{"settings": settings | {{"steps": steps}}, "metrics": metrics}}))
"""


def _edit(old: object, new: object) -> dict[str, Any]:
    return {"text": "HYPOTHESIS: the loss falls.", "edits": [["experiment.py", str(old), str(new)]]}


SCRIPT = {
    "run 1, attempt 1": {"text": "PLAN:\n1. nothing yet\nHYPOTHESIS: the loss falls."},
    "run 1, attempt 2": _edit("x = 5.0", "x = 5.0 / len([])"),
    "run 1, attempt 3": _edit("x = 5.0 / len([])", 'x = 5.0 / (1 if os.environ.get("HARNESS_SMOKE") else len([]))'),
    "run 1, attempt 4": {
        "text": "HYPOTHESIS: the loss falls.",
        "edits": [
            ["experiment.py", 'x = 5.0 / (1 if os.environ.get("HARNESS_SMOKE") else len([]))', "x = 5.0"],
            ["experiment.py", str(BASELINE), str(LUCKY)],
        ],
    },
    "run 2, attempt 1": {"text": "INTERPRETATION: luck.\nHYPOTHESIS: better.\nSTART FROM: baseline"}
    | {"edits": [["experiment.py", str(BASELINE), str(BETTER)]]},
    "run 3, attempt 1": {"text": "INTERPRETATION: it fell.\nALL_COMPLETED"},
}


def make(folder: Path) -> Campaign:
    """A new campaign in `folder`, with a cache of its own."""
    experiment = folder / "experiment"
    (folder / TEMPORARY).mkdir()
    shutil.copytree(ROOT / "tests" / "small", experiment, ignore=shutil.ignore_patterns("__pycache__"))
    with (experiment / "experiment.py").open("a") as code:
        code.write(RESULTS.format(BASELINE))
    with (experiment / "experiment.toml").open("a") as contract:
        contract.write("baseline_seeds = 3\nrun_seeds = [1, 3]\nfinal_seeds = 0\n")
    session = folder / "script.json"
    session.write_text(json.dumps(SCRIPT | {"log": str(folder / "asked")}))
    os.environ["HARNESS_CACHE"] = str(folder / "cache")
    return create_campaign(
        folder / "runs",
        Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
        experiment,
        Options(agent="tests.scripted:ScriptedAgent", max_runs=4),
        python=sys.executable,
        session=session,
    )


def note_executions(log: Path) -> None:
    """Have this process write down each execution that it submits and each that it sees ended."""
    submit, wait = LocalExecutor.submit, LocalExecution.wait

    def write(*facts: str) -> None:
        with log.open("a") as file:
            file.write(json.dumps(facts) + "\n")

    def submit_and_note(self: LocalExecutor, job: Job, home: Path) -> LocalExecution:
        execution = submit(self, job, home)
        write("submitted", home.parent.name, Home(home).read_spec().mark)
        return execution

    def wait_and_note(self: LocalExecution, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        outcome = wait(self, tick, stop)
        if outcome.ended not in ("lost", "stopped"):
            write("ended", self.home.parent.name, Home(self.home).read_spec().mark)
        return outcome

    LocalExecutor.submit = submit_and_note  # type: ignore[method-assign]
    LocalExecution.wait = wait_and_note  # type: ignore[method-assign]


def start(campaign: Campaign, folder: Path) -> int:
    """Take `campaign` up in a process, and a group, of its own: a fork, which saves the imports. Returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        os.environ["TMPDIR"] = str(folder / TEMPORARY)
        tempfile.tempdir = None
        with (folder / "said").open("ab") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        note_executions(folder / "executions")
        ending = go_on(Campaign(campaign.root), view=Silent(), stop=Stop())
        print(ending.reason, ending.message, flush=True)
        code = ending.exit_code
    finally:
        os._exit(code)


@dataclass
class Tally:
    """What came of the kills of one kind."""

    campaigns: int = 0
    kills: int = 0
    lost: int = 0
    repeated: int = 0
    differs: list[str] = field(default_factory=list)
    stuck: int = 0


class Killer:
    """Kills what is at work for one campaign."""

    def __init__(self, kind: str, campaign: Campaign, chance: random.Random) -> None:
        self._kind, self._campaign, self._chance = kind, campaign, chance
        self._supervised: set[str] = set()

    def strike(self, harness: int, moment: float) -> bool:
        """Kill once, `moment` seconds from now or at the first chance after it. Whether there was one before it ended."""
        until = time.monotonic() + moment
        while not has_ended(harness):
            if time.monotonic() >= until and self._kill(harness):
                return True
            time.sleep(0.002)
        return False

    def _kill(self, harness: int) -> bool:
        if self._kind == "harness":
            os.kill(harness, signal.SIGKILL)
        elif self._kind == "process group":
            try:
                os.killpg(harness, signal.SIGKILL)
            except ProcessLookupError:  # it has not made one yet
                return False
        else:
            found = self._gits(harness) if self._kind == "git" else self._supervisors()
            if not found:
                return False
            try:
                self._chance.choice(found).kill()
            except psutil.NoSuchProcess:
                return False
        return True

    def _gits(self, harness: int) -> list[psutil.Process]:
        try:
            # Not psutil's list of children: a git lives for less than it takes to make that.
            children = Path(f"/proc/{harness}/task/{harness}/children").read_text().split()
            return [psutil.Process(int(pid)) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "git\n"]
        except (OSError, psutil.Error):
            return []

    def _supervisors(self) -> list[psutil.Process]:
        """That of an execution of which none was killed yet."""
        for lock in self._campaign.local.glob("executions/*/job/spec.json"):
            step = lock.parent.parent.name
            if step in self._supervised:
                continue
            try:
                for process in carrying(SUPERVISOR_MARK, Home(lock.parent).read_spec().mark):
                    self._supervised.add(step)
                    return [psutil.Process(process.pid)]
            except (OSError, psutil.Error):
                continue
        return []


def has_ended(pid: int) -> bool:
    """Whether a child has ended; it can still be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def disturb(
    campaign: Campaign, folder: Path, kind: str, chance: random.Random, tally: Tally, last: float, most: int
) -> None:
    """Take `campaign` to its end, killing something of it up to `most` times."""
    killer, errors, kills = Killer(kind, campaign, chance), 0, 0
    while True:
        harness = start(campaign, folder)
        struck = False
        while kills < most and killer.strike(harness, chance.uniform(0, last)):
            kills, struck = kills + 1, True
            if kind in ("harness", "process group"):
                break
        code = os.waitstatus_to_exitcode(os.waitpid(harness, 0)[1])
        if code == 0:
            break
        errors = errors + 1 if code > 0 and not struck else 0
        if errors > 1:
            tally.stuck += 1
            break
    tally.campaigns += 1
    tally.kills += kills


def facts(campaign: Campaign, folder: Path) -> dict[str, Any]:
    """What must be the same, whatever was killed."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = {"usage", "seconds", "started", "commit", "environment", "processor_seconds", "peak_memory"}
            return {key: strip(each) for key, each in value.items() if key not in left_out}
        return [strip(each) for each in value] if isinstance(value, list) else value

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=campaign.root, capture_output=True, text=True, check=True).stdout

    subjects = [line for line in git("log", "--format=%s").splitlines() if line != "Where the campaign stands"]
    tags = git("tag").split()
    return {
        "records": [strip(record.model_dump()) for record in campaign.read_records()],
        "steps": sorted(event["step"] for event in read_events(campaign.journal) if event["event"] == "done"),
        "commits": subjects,
        "tags": {tag: git("rev-parse", f"{tag}:experiment.py") for tag in tags},
        "work tree": git("status", "--porcelain", "--untracked-files=no"),
        "code": (campaign.root / "experiment.py").read_text(),
        "left": sorted(str(path.relative_to(folder)) for path in left(campaign, folder)),
    }


def left(campaign: Campaign, folder: Path) -> list[Path]:
    """Temporary files: working copies, what is written beside a file to take its place, and all in the folder for them."""
    beside = [
        path for path in folder.rglob("*") if path.name.endswith((".new", ".lock")) or path.name.startswith("tmp_obj_")
    ]
    return [*campaign.local.glob("executions/*"), *beside, *(folder / TEMPORARY).iterdir()]


def executions(folder: Path) -> tuple[int, int]:
    """How many executions that had ended were executed again, and how many of those that were submitted never ended, though
    nothing else was executed in their place."""
    rows = [json.loads(line) for line in (folder / "executions").read_text().splitlines()]
    ended = Counter(step for step, _ in {(step, mark) for what, step, mark in rows if what == "ended"})
    submitted = {step for what, step, _ in rows if what == "submitted"}
    return sum(count - 1 for count in ended.values()), len(submitted - set(ended))


def measure(kills: int, seed: int, each: int, kinds: Sequence[str], say: Callable[[str], None]) -> dict[str, Tally]:
    """Campaigns, one kind of kill each in turn, until there are `kills` of them, at most `each` in one."""
    chance = random.Random(seed)
    tallies = {kind: Tally() for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="harness-kills-") as place:
        folder = Path(place, "undisturbed")
        folder.mkdir()
        campaign = make(folder)
        begun = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(start(campaign, folder), 0)[1])
        seconds = time.monotonic() - begun
        if code != 0:
            raise SystemExit(f"the undisturbed campaign ended with {code}: {(folder / 'said').read_text()}")
        wanted = facts(campaign, folder)
        say(f"undisturbed: {seconds:.0f} s, {len(wanted['records'])} records, {len(wanted['steps'])} steps")
        number = 0
        while (done := sum(tally.kills for tally in tallies.values())) < kills:
            kind = kinds[number % len(kinds)]
            tally, number = tallies[kind], number + 1
            folder = Path(place, str(number))
            folder.mkdir()
            campaign = make(folder)
            disturb(campaign, folder, kind, chance, tally, max(0.3, seconds / 20), min(each, kills - done))
            repeated, lost = executions(folder)
            tally.repeated += repeated
            tally.lost += lost
            found = facts(campaign, folder)
            differs = [key for key in wanted if found[key] != wanted[key]]
            tally.differs += [f"campaign {number}: {key}" for key in differs]
            say(f"campaign {number}, {kind}: {tally.kills} kills so far, {', '.join(differs) or 'the same end'}")
            for key in differs:
                say(f"  {key}: {_first_difference(wanted[key], found[key])}")
            shutil.rmtree(folder)
    return tallies


def _first_difference(wanted: Any, found: Any, where: str = "") -> str:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in wanted.keys() | found.keys():
            if wanted.get(key) != found.get(key):
                return _first_difference(wanted.get(key), found.get(key), f"{where}.{key}")
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{where}[{number}]")
    return f"{where}: {str(wanted)[:1500]} became {str(found)[:1500]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=40, help="kills in one campaign at most (40)")
    parser.add_argument("--kind", action="append", choices=KINDS, help="what is killed; may be repeated (all)")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    for name in ("git", "jinja2", "platformdirs"):  # by a campaign only when it needs them; here once for all forks
        import_module(name)
    available()  # tried once for all forks
    begun = time.monotonic()
    kinds = arguments.kind or KINDS
    tallies = measure(arguments.kills, arguments.seed, arguments.each, kinds, lambda line: print(line, flush=True))
    print(f"\n{'killed':<14} {'campaigns':>9} {'kills':>6} {'lost':>5} {'repeated':>8} {'differs':>7} {'stuck':>5}")
    for kind, tally in tallies.items():
        found = f"{tally.lost:>5} {tally.repeated:>8} {len(tally.differs):>7} {tally.stuck:>5}"
        print(f"{kind:<14} {tally.campaigns:>9} {tally.kills:>6} {found}")
    print(json.dumps({kind: vars(tally) for kind, tally in tallies.items()} | {"seconds": round(time.monotonic() - begun)}))


if __name__ == "__main__":
    main()
