"""What the pre-check rejects would have been no run; what it lets pass it cannot be sure about."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.campaign.code_identity import code_differs
from harness.campaign.contract import Contract
from harness.campaign.errors import CannotGoOn
from harness.execution import precheck
from harness.execution.precheck import reject

CONTRACT = Contract(editable=["experiment.py", "settings.yaml"], auxiliary=["plot.py"])
PARENT = {
    "experiment.py": b'"""An experiment."""\nimport argparse\n\n# options\nout_dir = "--out_dir"\nx = 1\n',
    "settings.yaml": b"k: 40\n",
    "plot.py": b"z = 1\n",
}


def ask(
    code: bytes | str | None = None,
    *,
    problems=(),
    words="",
    last_failed=None,
    parent=PARENT,
    python=sys.executable,
    **files,
):
    after = dict(parent)
    if code is not None:
        after["experiment.py"] = code.encode() if isinstance(code, str) else code
    after |= {name.replace("_", "."): content for name, content in files.items()}
    return reject(after, parent, last_failed, CONTRACT, python, problems=problems, wrote_notes=bool(words))


def with_code(code: str) -> str:
    return PARENT["experiment.py"].decode() + code


def test_a_change_that_runs_is_not_rejected():
    assert ask(with_code("x = 2\n")) is None
    assert ask(settings_yaml=b"k: 80\n") is None


def test_an_unusable_file_is_rejected_first():
    reason = ask(problems=["experiment.py was replaced by a symbolic link to /x. Write it again."])
    assert "symbolic link" in reason


def test_no_change_is_rejected():
    assert "did not change" in ask()


def test_a_change_of_plots_or_notes_alone_is_rejected():
    assert ask(plot_py=b"z = 2\n").startswith("Only plot.py changed, which no run executes")
    assert ask(words="It will work").startswith("Only notes.txt changed")
    assert ask(plot_py=b"z = 2\n", words="It will work").startswith("Only plot.py and notes.txt changed")


@pytest.mark.parametrize(
    "code",
    [
        '"""Another text."""\nimport argparse\n\n# options\nout_dir = "--out_dir"\nx = 1\n',
        "import argparse\nout_dir = (\n    '--out_dir'\n)\nx   =  0x1 # hex\n",
        'import argparse; out_dir = u"--out_" "dir"; x = 1; pass; "a word"\n',
        PARENT["experiment.py"].replace(b"\n", b"\r\n").decode(),
        "\ufeff" + PARENT["experiment.py"].decode(),
    ],
)
def test_comments_docstrings_and_formatting_alone_are_rejected(code):
    assert "Only comments, docstrings or formatting" in ask(code)


@pytest.mark.parametrize("code", ["x = 2", "x = 1.0", "x = -1", "x = True", "import math\nx = 1", "x = 'a b'"])
def test_code_that_can_behave_differently_differs(code):
    assert code_differs(b"x = 1", code.encode())
    assert not code_differs(code.encode(), code.encode() + b"  # comment\n")


def test_docstrings_are_found_at_every_level():
    a = b"class A:\n  'doc'\n  async def f(self):\n    'doc'\n    return 1\ndef g():\n  'doc'\n"
    assert not code_differs(a, re.sub(rb"'doc'", b"'other'", a))
    assert code_differs(a, a.replace(b"return 1", b"return 'doc'"))


def test_code_that_does_not_parse_is_compared_as_text():
    assert code_differs(b"x = (", b"x = ((")
    assert not code_differs(b"x = (", b"x = (")
    assert code_differs(b"x = 1", b"x = " + b"-" * 100_000 + b"1")


def test_the_code_that_just_failed_is_rejected():
    failed = {**PARENT, "experiment.py": with_code("x = 2\n").encode()}
    assert "attempt that just failed" in ask(with_code("x = 2  # now it works\n"), last_failed=failed)
    assert "attempt that just failed" in ask(with_code("x = 2\n"), last_failed=failed, plot_py=b"new = 1\n")
    assert ask(with_code("x = 3\n"), last_failed=failed) is None


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = 2\ndef f(:\n", r"line 2 .*\n    def f\(:"),
        ("if 1:\n\tx = 1\n        y = 2\n", "line 3 .*inconsistent use of tabs"),
        ("def f():\n    return\n  x = 1\n", "line 3 .*unindent"),
        ("x = 2\0\n", "null bytes"),
        ("# -*- coding: klingon -*-\nx = 2\n", "klingon"),
        ("x = 'open\n", "line 1 .*unterminated"),
        ("<<<<<<< SEARCH\nx = 2\n", "line 1 .*\n    <<<<<<< SEARCH"),
        ("return 1\n", "'return' outside function"),
        ("def f(a, a): pass\n", "duplicate argument"),
        ("x = " + "(" * 10_000 + ")" * 10_000, "too many nested parentheses|nested too deeply"),
        ("x = " + "-" * 100_000 + "1", "nested too deeply|crashes on it"),
        ("x = a" + ".b" * 200_000, "nested too deeply|crashes on it"),
        ("x = '" + "é" * 5_000 + "\n", "line 1"),
    ],
)
def test_code_that_does_not_parse_is_rejected_with_its_place(code, says):
    reason = ask(code)
    assert "experiment.py" in reason and "does not parse" in reason
    assert re.search(says, reason), reason
    assert len(reason) < 1_000


# Each of these raises when it is executed...
CRASHES = [
    "print(undefined_name)",
    "def f():\n    return undefned\nf()",
    "print(undefined_name)  # noqa",
    "# ruff: noqa\n# flake8: noqa\nprint(undefined_name)",
    "é = 'ä'; print(é, 'ää', undefined_name)",
    "print(f'{undefined_name} {1}')",
    "def f(a: Optional[int]): pass",
    "import math\nx = mth.pi",
    "y = 1\ndef f():\n    print(y)\n    y = 2\nf()",
    "'%s %s' % (1,)",
    "'%(a)s' % {'b': 1}",
    "'{} {a}'.format(1)",
    "import sys\nprint >> sys.stderr, 'x'",
    "z = 1\ndel z\nprint(z)",
    "class A:\n    v: Undefined = 1",
]
# ... and each of these does not, although a linter has something to say about some of them.
RUNS = [
    "exec('made = 1')\nprint(made)",
    "globals()['made'] = 1\nprint(made)",
    "import builtins\nbuiltins.made = 1\nprint(made)",
    "def f():\n    global made\n    made = 1\nf()\nprint(made)",
    "from math import *\nprint(pi)",
    "try:\n    unicode\nexcept NameError:\n    pass",
    "try:\n    display(1)\nexcept Exception:\n    pass",
    "from typing import Annotated as Float\ndef f(a: Float[int, 'batch d'], b: 'Later[int]', c: Float[int, 'batch']): pass",
    "from __future__ import annotations\ndef f(a: Tensor) -> Tensor:\n    b: Tensor = a\n    return b",
    "def f():\n    b: Tensor = 1\n    return b\nf()",
    "import math\ndef f():\n    for i in range(2):\n        if i:\n            print(math)\n        import math\nf()",
    "x = 1\nx is 'a'\nassert (1, 'always')",
    "'%s' % {'a': 1}\n'%(a)s' % {'a': 1, 'b': 2}\n'{}'.format(1, 2)",
    "__all__ = ['nothing_like_it']",
    "ExceptionGroup, aiter, anext, __file__",
    "import os, sys, json\nunused = lambda: (yield)",
    "match {'a': 1}:\n    case {'a': q}:\n        print(q)",
]


def execute(code: str, folder: Path) -> int:
    (folder / "code.py").write_text(code)
    return subprocess.run([sys.executable, "-W", "ignore", "code.py"], cwd=folder, capture_output=True).returncode


@pytest.mark.parametrize("code", CRASHES)
def test_code_that_would_surely_crash_is_rejected(code, tmp_path):
    assert execute(code, tmp_path) == 1
    reason = ask(code + "\nout_dir = 1\n")
    assert reason is not None and "would crash" in reason
    assert re.search(r"experiment.py, line \d+: ", reason)


@pytest.mark.parametrize("code", RUNS)
def test_code_that_runs_is_never_rejected(code, tmp_path):
    assert execute(code, tmp_path) == 0
    assert ask(code + "\nout_dir = 1\n") is None


def test_what_the_parent_had_is_not_rejected():
    parent = {**PARENT, "experiment.py": with_code("def f():\n    old_mistake\n").encode()}
    after = with_code("x = 2\ndef f():\n    old_mistake\n")
    assert ask(after, parent=parent) is None
    reason = ask(after + "new_mistake\n", parent=parent)
    assert "new_mistake" in reason and "old_mistake" not in reason


def test_many_mistakes_make_a_short_message():
    reason = ask(with_code("".join(f"print(name_{n})\n" for n in range(500))))
    assert "name_9`" in reason and "and 490 more" in reason
    assert len(reason) < 2_000


def test_a_lost_option_is_rejected_only_when_it_is_gone_from_all_files():
    lost = "import sys\nout = sys.argv[1]\n"
    assert "--out_dir" in ask(lost) and "run_i" in ask(lost)
    assert ask("import argparse\nargparse.ArgumentParser().add_argument('--out-dir')\n") is None
    assert ask(lost, settings_yaml=b"option: out_dir\n") is None
    parent = {**PARENT, "experiment.py": b"import sys\n"}
    assert ask(lost, parent=parent) is None


def test_the_syntax_of_the_experiments_own_python_counts(tmp_path):
    newer = tmp_path / "python"
    newer.write_text("#!/bin/sh\necho '{\"version\": [3, 99]}'\n")
    newer.chmod(0o755)
    code = with_code("type X = int\nx = f'{'nested'}'\n")
    assert ask(code, python=str(newer)) is None
    if sys.version_info < (3, 12):
        assert "does not parse" in ask(code)


def test_annotations_are_lazy_from_python_3_14_on(tmp_path):
    newer = tmp_path / "python"
    newer.write_text("#!/bin/sh\necho '{\"version\": [3, 14]}'\n")
    newer.chmod(0o755)
    code = with_code("def f(a: Tensor): pass\n")
    assert ask(code, python=str(newer)) is None
    assert "would crash" in ask(with_code("def f(a=Tensor): pass\n"), python=str(newer))


def test_a_python_that_does_not_start_is_not_the_agents_fault(tmp_path):
    with pytest.raises(CannotGoOn, match="--python"):
        ask(with_code("x = 2\n"), python=str(tmp_path / "none"))
    with pytest.raises(CannotGoOn, match="not a working Python"):
        ask(with_code("x = 2\n"), python="/bin/true")


def test_an_interpreter_that_crashes_on_the_code_rejects_it(tmp_path):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    assert "crashes on it" in ask(with_code("x = 2\n"), python=str(crashing))


def test_checks_that_hang_are_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(precheck, "CHECK_TIME", 0.2)
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 100\n")
    hanging.chmod(0o755)
    assert "needs more than" in ask(with_code("x = 2\n"), python=str(hanging))


def test_the_persons_ruff_settings_have_no_say(tmp_path, monkeypatch):
    (tmp_path / "ruff.toml").write_text('builtins = ["undefined_name"]\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUFF_OUTPUT_FILE", str(tmp_path / "elsewhere"))
    assert "would crash" in ask(with_code("print(undefined_name)\n"))
