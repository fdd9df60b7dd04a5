"""Which changed lines ran in the smoke test: advice, from real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution import coverage

BEFORE = "import sys\n\nSCALE = 1\n\n\ndef main():\n    print(SCALE)\n\n\nmain()\n"


def execute(folder: Path, after: str, before: str = "", **environment: str) -> tuple[str, str]:
    """What never ran of `after`'s change, and the output of the process."""
    folder = folder.resolve()
    folder.mkdir(exist_ok=True)
    (folder / "experiment.py").write_text(after)
    wanted = coverage.changed_statements({"experiment.py": before.encode()}, {"experiment.py": after.encode()})
    place = folder / "scratch"
    variables = coverage.plant(place, folder, wanted, {"PATH": os.environ["PATH"], **environment})
    done = subprocess.run([sys.executable, "experiment.py"], cwd=folder, env=variables, capture_output=True, text=True)
    return coverage.never_ran(place, wanted), done.stdout + done.stderr


def test_changed_lines_that_never_ran_are_named(tmp_path: Path) -> None:
    after = BEFORE.replace(
        "    print(SCALE)\n",
        "    print(SCALE)\n    if SCALE > 1:\n        print(\n            'late',\n        )\n        sys.exit(3)\n\n    print('end')\n"
        "    if not SCALE:\n        raise ValueError(SCALE)\n",
    )
    assert execute(tmp_path, after, BEFORE)[0] == "experiment.py 9-12, 16"


def test_lines_that_the_change_left_alone_are_not_named(tmp_path: Path) -> None:
    before = BEFORE.replace("def main", "def idle():\n    print('idle')\n\n\ndef main")
    idle, _ = execute(tmp_path, before.replace("SCALE = 1", "SCALE = 2"), before)
    assert idle == ""


EVERY_KIND = '''
"""A module."""
from __future__ import annotations
import contextlib
from functools import (
    partial,
    wraps,
)
total: int
count: int = 0


def named(
    f,
):
    """What it does."""

    @wraps(f)
    def inner(*args):
        nonlocal_ = None
        return f(*args)

    return inner


@named
@partial(
    lambda g, h: h, None,
)
def add(
    a, b=(
        1
    ),
):
    global count
    count += 1
    return (
        a
        + b
    )


class Kind(
    object,
):
    """A class."""

    __slots__ = ()

    def it(self): return 1
    async def late(self):
        async with contextlib.nullcontext(): pass
        async for each in self.many():
            await self.none()
        return [x for x in [1] if
                x]
    async def many(self):
        yield 1
    async def none(self):
        pass


def numbers():
    for i in range(3):
        if i == 1:
            continue
        elif i == 2:
            break
        else:
            yield i
    else:
        yield -1


while True:
    count += 1
    if count > 3: break
for x in numbers():
    pass
else:
    pass
try:
    raise KeyError
except (
    ValueError
):
    never = 1
except KeyError as error:
    del error
else:
    never = 2
finally:
    count = 1
with (
    contextlib.suppress(KeyError) as one,
    contextlib.suppress(ValueError) as two,
):
    assert add(1) == 2, (
        "no"
    )
match count:
    case 2 if (
        add(1)
    ):
        x = {
            "a": 1,
            "b": lambda: 3,
        }
    case _:
        never = 3
import asyncio
asyncio.run(Kind().late()), Kind().it()
'''


def test_each_kind_of_statement_that_runs_is_seen(tmp_path: Path) -> None:
    idle, said = execute(tmp_path, EVERY_KIND)
    assert said == ""
    lines = EVERY_KIND.split("\n")
    never = [i for i, text in enumerate(lines, 1) if "never" in text]
    unreached = [lines.index("        yield -1") + 1]
    assert idle == "experiment.py " + ", ".join(map(str, sorted(never + unreached)))


@pytest.mark.parametrize(
    "end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.abort()", "os.closerange(3, 99); os._exit(0)"]
)
def test_what_ran_is_known_however_the_process_ends(tmp_path: Path, end: str) -> None:
    assert execute(tmp_path, f"import os\n{end}\nprint('not reached')\n")[0] == "experiment.py 3"


def test_threads_are_watched(tmp_path: Path) -> None:
    code = "import threading\n\n\ndef work():\n    print(1)\n\n\nthread = threading.Thread(target=work)\nthread.start()\nthread.join()\n"
    assert execute(tmp_path, code) == ("", "1\n")


def test_the_process_finds_the_environment_that_it_would_have_had(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys\nsys.own = 'here'\n")
    code = (
        "import json, os, sys\n"
        "print(json.dumps([sys.path, dict(os.environ), sys.argv, sys.modules['sitecustomize'].__file__, sys.own, __name__]))\n"
    )
    variables = {"PYTHONPATH": str(own), "PATH": os.environ["PATH"]}
    _, watched = execute(tmp_path / "copy", code, **variables)
    plain = subprocess.run(
        [sys.executable, "experiment.py"], cwd=tmp_path / "copy", env=variables, capture_output=True, text=True
    )
    assert json.loads(watched) == json.loads(plain.stdout)


def test_nothing_is_said_of_a_file_that_the_process_did_not_execute(tmp_path: Path) -> None:
    assert execute(tmp_path, "import subprocess, sys\nprint(1)\n", "")[0] == ""
    wanted = {"experiment.py": [(1, 1)], "other.py": [(1, 1)]}
    coverage.plant(tmp_path / "again", tmp_path, wanted, {})
    assert coverage.never_ran(tmp_path / "again", wanted) == ""
    (tmp_path / "again" / "ran").write_text("0 seen\n")
    assert coverage.never_ran(tmp_path / "again", wanted) == "experiment.py 1"


def test_what_the_experiment_writes_into_the_notes_cannot_put_words_there(tmp_path: Path) -> None:
    wanted = {"experiment.py": [(1, 1), (7, 9)]}
    coverage.plant(tmp_path / "s", tmp_path, wanted, {})
    (tmp_path / "s" / "ran").write_bytes(b"0 seen\n0 0\n0 improved\n9 9\n\xff\xfe\n0 1 0\n" + b"0 1" * 10**6)
    assert coverage.never_ran(tmp_path / "s", wanted) == "experiment.py 7-9"


def test_code_that_cannot_be_read_is_not_watched() -> None:
    assert coverage.changed_statements({}, {"a.py": b"def (", "b.py": b"\x00", "c.txt": b"x = 1", "d.py": b"# only\n"}) == {}


def test_many_ranges_are_cut_short(tmp_path: Path) -> None:
    wanted = {"experiment.py": [(line, line) for line in range(1, 61, 3)]}
    coverage.plant(tmp_path / "s", tmp_path, wanted, {})
    (tmp_path / "s" / "ran").write_text("0 seen\n")
    assert coverage.never_ran(tmp_path / "s", wanted).endswith("31, 34 and 8 more")


LATE = (
    "    x -= settings",
    '    if step == 30:\n        gradient = 1.5 * gradient\n        late = "yes"\n    x -= settings',
)


def test_the_agent_is_advised_of_changed_lines_that_never_ran_in_the_smoke_test(
    make_campaign: Callable[..., Campaign],
) -> None:
    idle = "these changed lines never ran in the smoke test: experiment.py "
    warm_up = {"text": "HYPOTHESIS: the loss falls.", "edits": [["experiment.py", *LATE]]}
    off = {"text": "HYPOTHESIS: this too.", "edits": [["experiment.py", "x = 5.0\n", "x = 5.0\nif x < 0:\n    x = 4.0\n"]]}
    campaign = make_campaign(
        {"run 1, attempt 1": warm_up, "run 2, attempt 1": off, "run 3, attempt 1": {"text": "ALL_COMPLETED"}}, max_runs=3
    )
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    _, late, without_effect = campaign.read_records()
    assert late.verdict.kind == "inconclusive"  # advice is no verdict
    assert late.advice == [f"{idle}22-23"]
    assert without_effect.verdict.kind == "no_effect"
    assert without_effect.advice == []
    assert f"{idle}19" in without_effect.warnings
    for told in ("run_2/attempts/1/brief.md", "notes.txt"):
        assert f"{idle}22-23" in " ".join((campaign.root / told).read_text().split())
