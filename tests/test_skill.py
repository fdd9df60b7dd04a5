"""The skill that teaches a coding agent to drive a campaign: its commands are executed as they stand, and the real agents
follow it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.campaign.campaign import Campaign, inventory_of
from harness.campaign.contract_file import load_contract
from harness.campaign.errors import InputError
from harness.cli.init import create_experiment
from harness.cli.main import cli
from harness.cli.skill import PLACES, install, skill
from tests.test_real_agents import KEY, installed, texts
from tests.tool_server import ToolServer, ToolStep
from tests.waiting import HANGS

BIN = Path(sys.executable).parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new experiment, with `harness` on the PATH."""
    create_experiment(tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "mine"


def edit(folder: Path) -> None:
    file = folder / "runs" / "first" / "experiment.py"
    assert "x = 5.0" in file.read_text()
    file.write_text(file.read_text().replace("x = 5.0", "x = 4.9"))


def test_a_skill_is_short() -> None:
    assert len(skill("claude").splitlines()) <= 120
    assert skill("claude").startswith("---\nname: harness\ndescription: ")


def test_its_commands_take_a_campaign_to_its_end(quick: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", skill("agents"), re.DOTALL)
    printed = []
    for block in blocks:
        if "harness try" in block:
            edit(quick)
        done = subprocess.run(["bash", "-ec", block], capture_output=True, text=True, timeout=HANGS, check=False)
        assert done.returncode == 0, (block, done.stderr)
        printed.append(done.stdout)
    brief, tried = json.loads(printed[1]), json.loads(printed[2])
    assert (brief["folder"], brief["code"]["files"], brief["left"]["runs"]) == (
        str(quick / "runs" / "first"),
        ["experiment.py"],
        5,
    )
    assert (tried["outcome"], tried["run"]) == ("judged", 1)
    assert '"outcome": "ended"' in printed[3] and "=== The end" in printed[3]


def test_three_commands_of_the_readme_take_an_own_change_to_a_verdict(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    block = re.search(r"\n\n((?:    .*\n)*?    harness open .*\n(?:    .*\n)+)", readme)
    assert block
    assert len(block[1].strip().splitlines()) == 3
    monkeypatch.setenv("EDITOR", "sed -i s/0.01)/0.001)/")
    done = subprocess.run(["bash", "-ec", block[1]], capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Run 1: completed, (improved|not significant|worse)\n", done.stdout)
    assert "attempts at the next; spent: tokens unknown, cost unknown" in done.stdout


def test_every_command_that_it_names_works(quick: Path, tmp_path: Path) -> None:
    def typed(*arguments: str) -> None:
        done = CliRunner().invoke(cli, list(arguments))
        assert done.exit_code == 0, (arguments, done.output)

    file, patch, code = quick / "runs/first/experiment.py", tmp_path / "a.patch", (quick / "experiment.py").read_text()
    typed("open", "ideas/first.json", "--max-runs", "5")
    file.write_text(code.replace("x = 5.0", "x = 4.9"))
    typed("try", "first", "--hypothesis", "It starts nearer.")
    # `--patch FILE` stands beside the command that it is an option of.
    named = re.findall(r"`((?:harness|--patch) [^`]+)`", skill("agents"))
    assert len(named) > 10
    for number, each in enumerate(filter("harness try".__ne__, named)):
        words = shlex.split(each.removeprefix("harness ").replace("--patch", "try first --patch"))
        if words[0] == "try":
            changed = code.replace("x = 5.0", f"x = {4 - number / 100}")
            words = [{"DIR": str(tmp_path), "FILE": str(patch)}.get(word, word) for word in words]
            if "--patch" in words:
                (tmp_path / "experiment.py").write_text(changed)
                pair = ["git", "diff", "--no-index", file, tmp_path / "experiment.py"]
                text = subprocess.run(pair, capture_output=True, text=True, check=False).stdout
                patch.write_text(
                    re.sub(r"^(---|\+\+\+) .*", r"\1 a/experiment.py", text, flags=re.MULTILINE).split("\n", 2)[2]
                )
            else:
                (tmp_path if "--from" in words else file.parent).joinpath("experiment.py").write_text(changed)
            words += ["--hypothesis", f"It starts nearer: {number}."]
        typed(*words)


def test_it_is_written_where_an_agent_looks_and_nothing_else_is_changed(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_text("# Mine\nBe brief.\n")
    for name, place in PLACES.items():
        assert install(name, tmp_path) == tmp_path / place
        once = (tmp_path / place).read_text() + "\nUse run names of mine.\n"
        (tmp_path / place).write_text(once)
        install(name, tmp_path)
        assert (tmp_path / place).read_text() == once
        assert "harness try" in once
    assert (tmp_path / "AGENTS.md").read_text().startswith("# Mine\nBe brief.\n")
    (tmp_path / PLACES["claude"]).write_text("Somebody else's.")
    with pytest.raises(InputError, match="Move it away"):
        install("claude", tmp_path)


def test_an_experiment_stays_what_it_is_when_a_skill_is_installed_beside_it(folder: Path) -> None:
    before = load_contract(folder).files
    for name in PLACES:
        install(name, folder)
    contract = load_contract(folder)
    assert contract.files == before
    assert inventory_of(folder, contract).sentences == []


CYCLE = (
    "harness open ideas/first.json --max-runs 2 2>&1; harness brief first --json",
    """sed -i 's/"rate": 0.05/"rate": 0.1/' runs/first/experiment.py && """
    'harness try first --json --hypothesis "A larger rate lowers the loss."',
    "sed -i 's/x = 5.0/x = 4.0 +/' runs/first/experiment.py; "
    'harness try first --json --hypothesis "Nearer."; echo "exit code $?"',
    "sed -i 's/x = 4.0 +/x = 4.0/' runs/first/experiment.py && "
    'harness try first --json --hypothesis "Nearer." --by the-agent',
    "harness end first --json",
)
"""What an agent that read the skill does: a campaign of two runs, the second after a rejected try."""


def in_turn(commands: Sequence[str]) -> list[str]:
    """Each begins when the one before it has ended, which an agent that stops waiting for a command would not heed."""
    waits = [f"until [ -e ended.{number} ]; do sleep 0.1; done" for number in range(len(commands) + 1)]
    each = zip(waits, commands, strict=False)
    found = [f"{wait}; ({cmd}) 2>&1 | tee said.{n}; touch ended.{n + 1}" for n, (wait, cmd) in enumerate(each)]
    return [f"touch ended.0; {found[0]}", *found[1:], *waits[-1:] * 8]


def check(folder: Path, server: ToolServer) -> None:
    known = "\n".join(texts(server.requests[0]))
    assert "change by change, each executed with seeds and judged" in known  # from the start
    said = [(folder / f"said.{number}").read_text() for number in range(len(CYCLE))]
    assert '"outcome": "judged"' in said[1] and "exit code 6" in said[2] and '"outcome": "ended"' in said[4], said
    records = Campaign(folder / "runs" / "first").read_records()
    assert [record.status for record in records] == ["completed"] * 3
    assert [attempt.status for attempt in records[2].attempts] == ["rejected", "completed"]
    assert (records[1].agent, records[2].agent) == ("outside", "the-agent")


@pytest.fixture
def quick(folder: Path) -> Path:
    """The same with an experiment that is faster, and no sooner learnt."""
    for name in ("experiment.py", "experiment.toml"):
        shutil.copy(Path(__file__).parent / "small" / name, folder / name)
    return folder


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "person"
    (home / ".codex").mkdir(parents=True)
    (home / ".profile").write_text(f'export PATH="{BIN}:$PATH"\n')
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(home))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "CODEX_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return home


def ask(program: Path, *arguments: str) -> None:
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=HANGS, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)


@pytest.mark.slow
def test_claude_drives_a_campaign_by_the_skill(quick: Path, person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = installed("claude") / "claude"
    install("claude", quick)
    steps: list[ToolStep] = [("Skill", {"skill": "harness"})]
    steps += [("Bash", {"command": each, "timeout": 600_000}) for each in in_turn(CYCLE)]
    with ToolServer([*steps, "It is done."]) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url.removesuffix("/v1"))
        ask(
            program, "-p", "Take ideas/first.json through two runs.", "--model", "a-model", "--allowedTools", "Bash", "Skill"
        )
        check(quick, server)


@pytest.mark.slow
def test_codex_drives_a_campaign_by_the_skill(quick: Path, person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = installed("codex") / "codex"
    install("codex", quick)
    steps: list[ToolStep] = [("exec_command", {"cmd": each, "yield_time_ms": 600_000}) for each in in_turn(CYCLE)]
    with ToolServer([*steps, "It is done."]) as server:
        (person / ".codex/config.toml").write_text(
            'model_provider = "mine"\n[model_providers.mine]\nname = "Mine"\nwire_api = "responses"\n'
            f'base_url = "{server.url}"\nenv_key = "MY_KEY"\n'
        )
        monkeypatch.setenv("MY_KEY", KEY)
        mode = ("-c", 'sandbox_mode="danger-full-access"', "--skip-git-repo-check", "-m", "a-model")
        ask(program, "exec", *mode, "Take ideas/first.json through two runs.")
        check(quick, server)
