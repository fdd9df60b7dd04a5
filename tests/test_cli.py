"""The command as a person types it: real processes, a real campaign, and what they print."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import harness
from harness.campaign.campaign import Options
from harness.campaign.journal import locked
from harness.campaign.schema import SCHEMA
from harness.cli.main import cli
from harness.cli.running import parse_setting, worse
from tests.executing import running
from tests.waiting import HANGS, until

SMALL = Path(__file__).parent / "small"
IDEA = {"Name": "small", "Title": "A small idea", "Experiment": "Make the loss smaller."}
SCRIPT: dict[str, Any] = {
    "run 1, attempt 1": {"text": "HYPOTHESIS: nothing helps"},
    "run 1, attempt 2": {
        "text": "HYPOTHESIS: a larger rate helps 学习率",
        "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']],
    },
    "run 2, attempt 1": {"text": "HYPOTHESIS: x", "edits": [["experiment.py", "x = 5.0", "x = 4.0"]]},
    "run 3, attempt 1": {"text": "ALL_COMPLETED"},
}
SCRIPTED = ("--agent", "tests.scripted:ScriptedAgent", "--session", "script.json", "--experiment", "experiment")
KEYS = re.compile(r"_API_KEY$|_API_BASE$|^HARNESS_|^NO_COLOR$|^COLUMNS$")


class Desk:
    """A folder that a person works in: an experiment, an idea, a script for the agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        shutil.copytree(SMALL, folder / "experiment", ignore=shutil.ignore_patterns("__pycache__"))
        self.write("idea.json", IDEA)
        self.write("script.json", SCRIPT)

    def write(self, name: str, data: Any) -> None:
        (self.folder / name).write_text(json.dumps(data))

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen:
        environment = {k: v for k, v in os.environ.items() if not KEYS.search(k)}
        environment |= {"PYTHONPATH": str(Path(__file__).parent.parent), "XDG_STATE_HOME": str(self.folder / "state")}
        environment |= more.pop("environment", {})
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", "from harness.cli.main import main; main()", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=environment, encoding="utf-8", **settings | more)

    def type(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess:
        """What the command says and its exit code."""
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=HANGS)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Desk, subprocess.CompletedProcess]:
    """A desk with a campaign that came to its end, and what `run` printed."""
    desk = Desk(tmp_path_factory.mktemp("a desk ä"))
    return desk, desk.type("run", "idea.json", *SCRIPTED, "--max-runs", "5", "--set", "steps=30")


@pytest.fixture
def desk(finished, monkeypatch) -> Desk:
    """The desk with the finished campaign, for commands that change nothing; the test's own process works there too."""
    monkeypatch.chdir(finished[0].folder)
    return finished[0]


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Desk:
    desk = Desk(tmp_path / "desk")
    monkeypatch.chdir(desk.folder)
    for name in list(os.environ):
        if KEYS.search(name):
            monkeypatch.delenv(name)
    return desk


@pytest.fixture(scope="module")
def first_turn(tmp_path_factory) -> Path:
    """The runs of a desk with a campaign that stopped before its first turn, since its session held none."""
    desk = Desk(tmp_path_factory.mktemp("first"))
    desk.write("script.json", {})
    assert desk.type("run", "idea.json", *SCRIPTED, "--max-runs", "3").returncode == 0
    return desk.folder / "runs"


@pytest.fixture
def begun(empty, first_turn) -> Desk:
    """A desk with a copy of that campaign."""
    shutil.copytree(first_turn, empty.folder / "runs")
    return empty


def ask(*arguments: str, **more: Any) -> Result:
    """The command in this process."""
    return CliRunner().invoke(cli, list(arguments), **more)


def told(process: subprocess.Popen, words: str) -> None:
    """Wait until the command has printed a line with these words."""
    assert any(words in line for line in process.stdout), "it ended without them"


def test_run_says_what_it_does_and_ends_with_a_table_and_what_to_type_next(finished):
    desk, done = finished
    assert done.returncode == 0, done.stderr
    assert "Campaign: runs/small" in done.stdout
    assert re.search(r"^\d\d:\d\d:\d\d run 1 of 5, attempt 2: agent$", done.stdout, re.M)
    assert "did not change" in done.stdout
    assert re.search(r"^2 +inconclusive +[\d.e-]+", done.stdout, re.M)
    assert "harness log small" in done.stdout
    assert "harness resume small" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    options = json.loads((desk.folder / "runs" / "small" / "campaign.json").read_text())["options"]
    assert options["overrides"] == {"steps": 30}


def test_status_names_state_spending_best_run_and_next_step(desk):
    text = ask("status").output
    assert "ended: The agent said ALL_COMPLETED. (" in text
    assert "2 completed, of 5" in text
    assert "tokens, $" in text
    assert "inconclusive" in text
    assert "harness resume small" in text
    facts = json.loads(ask("status", "small", "--json").output)
    assert facts["state"] == "ended"
    assert facts["reason"] == "all_completed"
    assert facts["best"]["run"] in (1, 2)
    assert facts["max_runs"] == 5


def test_status_all_has_a_line_for_each_campaign(desk):
    assert re.search(r"^small +all completed +2 of 5 .*run \d: .*, inconclusive$", ask("status", "--all").output, re.M)
    assert [each["name"] for each in json.loads(ask("status", "--all", "--json").output)] == ["small"]


def test_log_has_a_line_for_each_run_and_attempt(desk):
    lines = ask("log", "latest").output.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["run", "0", "1.1", "1", "2", "3.1"]
    assert "学习率" in desk.type("log", "latest", environment={"COLUMNS": "160"}).stdout.splitlines()[3]
    facts = json.loads(ask("log", "latest", "--json").output)
    assert [row["status"] for row in facts if row["attempt"] is None] == ["completed"] * 3
    assert facts[0]["metric"] == "loss"


def test_log_fits_the_width_that_is_said(desk):
    done = desk.type("log", "latest", environment={"COLUMNS": "60"})
    assert max(map(len, done.stdout.splitlines())) <= 60


def test_show_prints_the_record_and_as_json_the_same_facts_as_its_file(desk):
    assert "a larger rate helps" in ask("show", "latest", "1").output
    stored = json.loads((desk.folder / "runs" / "small" / "run_1" / "record.json").read_text())
    assert json.loads(ask("show", "latest", "run_1", "--json").output) == stored


def test_diff_is_against_the_run_that_it_started_from_or_between_two(desk):
    one = ask("diff", "latest", "2").output
    assert "+x = 4.0" in one
    assert "rate" not in "".join(line for line in one.splitlines() if line.startswith(("+", "-")))
    two = ask("diff", "latest", "0", "2").output
    assert "+x = 4.0" in two
    assert '"rate": 0.1}' in two
    assert "unmodified" in ask("diff", "latest", "0").stderr
    assert "No difference" in ask("diff", "latest", "1", "1").output


def test_notes_are_printed(desk):
    assert "A small idea" in ask("notes", "latest").output


@pytest.mark.parametrize("arguments", [("show", "latest", "9"), ("show", "latest", "-1"), ("diff", "latest", "x")])
def test_a_run_without_a_record_is_wrong_input_that_lists_the_recorded(desk, arguments):
    done = ask(arguments[0], "--", *arguments[1:])
    assert done.exit_code == 2
    assert "0 to 2" in done.stderr


def test_an_unknown_campaign_is_wrong_input_that_lists_the_known(desk):
    for command in ("status", "log", "notes", "brief", "resume"):
        done = ask(command, "smal")
        assert done.exit_code == 2
        assert done.stderr == "harness: smal: no such campaign. In runs: small.\n"


def test_a_read_only_campaign_of_another_machine_can_be_read(desk, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(desk.folder / "runs" / "small", root, ignore=shutil.ignore_patterns(".harness"))
    before = sorted(path for path in root.rglob("*"))
    for path in [root, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        for arguments in (("status",), ("log",), ("show", "1"), ("diff", "2"), ("notes",)):
            done = ask(arguments[0], str(root), *arguments[1:])
            assert done.exit_code == 0, done.stderr
        assert sorted(path for path in root.rglob("*")) == before
    finally:
        for path in [root, *before]:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", ["--max-cost", "--max-hours"])
@pytest.mark.parametrize("command", [("run", "idea.json"), ("resume", "latest")])
def test_a_budget_that_is_no_number_is_refused(desk, command, option, value):
    done = ask(*command, option, value)
    assert done.exit_code == 2
    assert f"'{option}'" in done.stderr


def test_tell_takes_bytes_that_are_no_text(desk):
    done = ask("tell", "latest", "smaller \udcff steps")
    assert done.exit_code == 0 and "The campaign has ended: `harness status small` says how it goes on." in done.output
    (told,) = (desk.folder / "runs" / "small" / ".harness" / "inbox").iterdir()
    assert told.read_text() == "smaller ? steps\n"
    told.unlink()


def test_tell_puts_each_word_whole_into_the_inbox_while_another_process_runs(desk):
    root = desk.folder / "runs" / "small"
    with locked(root / ".harness" / "lock"):
        assert ask("tell", "latest", "try", "a smaller one ä").exit_code == 0
        assert ask("tell", "latest", "second").exit_code == 0
        assert "running" in ask("status").output
    told = sorted((root / ".harness" / "inbox").iterdir())
    assert [file.read_text(encoding="utf-8") for file in told] == ["try a smaller one ä\n", "second\n"]
    assert all(file.suffix == ".txt" for file in told)
    assert ask("tell", "latest", " ").exit_code == 2
    for file in told:
        file.unlink()


def test_brief_prints_exactly_the_next_brief_and_its_tokens_apart(begun, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(begun.folder / "cache"))
    done = ask("brief", "latest")
    assert done.exit_code == 0, done.output
    assert "Make the loss smaller." in done.stdout
    assert re.fullmatch(r"about [\d,]+ tokens.*\n", done.stderr)


@pytest.mark.parametrize("name", ["", *cli.commands])
def test_every_command_has_help_with_an_example_and_what_comes_next(name):
    done = ask(*filter(None, [name]), "--help")
    assert done.exit_code == 0
    assert f"harness {name}".strip() in done.output
    assert max(map(len, done.output.split("\n"))) <= 80  # a line of an example is never broken
    if name:
        assert "Example:" in done.output
        assert "Next:" in done.output


def test_the_version_is_printed():
    assert ask("--version").output == f"harness {harness.__version__}\n"


def test_the_help_says_what_each_exit_code_means():
    said = " ".join(ask("run", "--help").output.split())
    assert "0 finished (no run is left, the agent said ALL_COMPLETED, or the recorded session is over)" in said
    assert "2 wrong input, 3 a budget is spent, 4 it could not go on, 130 stopped by Ctrl-C" in said


def test_the_help_says_the_default_number_of_runs():
    assert f"else {Options().max_runs})" in " ".join(ask("run", "--help").output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Missing argument"),
        (["run", "missing.json"], "missing.json: no such file"),
        (["run", "broken.json"], "line 1: not JSON"),
        (["run", "untitled.json"], "Title"),
        (["run", "dots.json"], "Name"),
        (["run", "list.json"], "one, two"),
        (["run", "list.json", "--idea", "three"], "one, two"),
        (["run", "idea.json", "--experiment", "."], "harness init"),
        (["run", "idea.json", "--experiment", "nowhere"], "no such folder"),
        (["run", "idea.json", *SCRIPTED, "--profile", "huge"], "no such profile"),
        (["run", "idea.json", *SCRIPTED, "--set", "steps"], "KEY=VALUE"),
        (["run", "idea.json", *SCRIPTED, "--set", "rat=1"], "rate"),
        (["run", "idea.json", *SCRIPTED, "--set", "steps=[1]"], "a setting is"),
        (["run", "idea.json", *SCRIPTED, "--python", "no-python"], "--python no-python"),
        (["run", "idea.json", *SCRIPTED, "--max-runs", "0"], "max-runs"),
        (["run", "idea.json", *SCRIPTED, "--max-cost", "0"], "max-cost"),
        (["run", "idea.json", "--experiment", "experiment"], "No model is configured"),
        (["run", "idea.json", "--experiment", "experiment", "--agent", "nobody"], "aider"),
        (["run", "idea.json", "--experiment", "experiment", "--model", "m", "--edit-format", "x"], "diff"),
        (["run", "idea.json", "missing.json", *SCRIPTED], "missing.json"),
        (["no-such-command"], "No such command"),
    ],
)
def test_wrong_input_is_a_message_and_exit_code_2_and_begins_no_campaign(empty, arguments, said):
    (empty.folder / "broken.json").write_text("{")
    empty.write("untitled.json", {"Name": "x", "Experiment": "x"})
    empty.write("dots.json", IDEA | {"Name": "../x"})
    empty.write("list.json", [IDEA | {"Name": "one"}, IDEA | {"Name": "two"}])
    done = ask(*arguments)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert not list(empty.folder.glob("runs/*"))


def test_several_ideas_are_a_campaign_each_and_one_that_fails_does_not_stop_the_rest(empty):
    broken = empty.folder / "experiment" / "experiment.py"
    source = broken.read_text()
    broken.write_text("import os, sys\nif 'first' in os.getcwd(): sys.exit(7)\n" + source)
    empty.write("list.json", [IDEA | {"Name": "first"}, IDEA | {"Name": "second"}])
    empty.write("script.json", {})
    done = empty.type("run", "list.json", "--idea", "first", "--idea", "second", *SCRIPTED)
    assert done.returncode == 4, done.stderr
    assert "the baseline" in done.stdout
    assert "exit code 7" in done.stdout
    states = json.loads(ask("status", "--all", "--json").output)
    assert [(each["name"], each["exit_code"]) for each in states] == [("first", 4), ("second", 0)]


def test_the_worst_exit_code_counts():
    order = [0, 2, 3, 4, 130]
    assert all(worse(a, b) == worse(b, a) == max(a, b, key=order.index) for a in order for b in order)


def test_a_spent_budget_is_exit_code_3_and_a_larger_one_goes_on(empty):
    empty.write("script.json", {"run 1, attempt 1": SCRIPT["run 1, attempt 1"]})
    done = empty.type("run", "idea.json", *SCRIPTED, "--max-tokens", "200")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "--max-tokens" in done.stdout
    assert json.loads(ask("status", "--json").output)["reason"] == "budget"
    done = empty.type("resume", "small", "--max-tokens", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(ask("status", "--json").output)["reason"] == "session_over"


def test_ctrl_c_ends_the_step_in_hand_and_resume_goes_on(empty):
    heard = empty.folder / "heard"
    empty.write("script.json", {"run 1, attempt 1": {"text": "HYPOTHESIS: none", "until": str(heard)}})
    process = empty.start("run", "idea.json", *SCRIPTED)
    journal = empty.folder / "runs" / "small" / "journal.jsonl"
    until(lambda: journal.exists() and '"started", "step": "run_1/attempt_1/turn"' in journal.read_text())
    process.send_signal(signal.SIGINT)
    told(process, "Ctrl-C again stops at once")
    heard.touch()
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == 130, out + err
    assert "harness resume small" in out
    assert '"done", "step": "run_1/attempt_1/turn"' in journal.read_text()
    assert "interrupted" in ask("status").output
    assert empty.type("resume", "latest").returncode == 0
    assert json.loads(ask("status", "--json").output)["reason"] == "session_over"


def test_a_second_ctrl_c_stops_a_run_at_once_with_all_its_processes(empty):
    waiting = "open('here', 'w').write('x'); __import__('time').sleep(600)\n"
    file = empty.folder / "experiment" / "experiment.py"
    file.write_text(waiting + file.read_text())
    process = empty.start("run", "idea.json", *SCRIPTED)
    runs = empty.folder / "runs"
    until(lambda: any(runs.glob("small/.harness/executions/*/copy/**/here")))
    assert running(runs)
    assert "run 0 (the baseline): execution" in ask("status").output
    process.send_signal(signal.SIGINT)
    told(process, "Ctrl-C again stops at once")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == 130, out + err
    assert not running(runs)


def test_a_second_process_on_the_same_campaign_is_refused(begun):
    with locked(begun.folder / "runs" / "small" / ".harness" / "lock"):
        done = begun.type("resume", "small")
    assert done.returncode == 4
    assert "another process" in done.stderr


def test_a_mistake_of_the_harness_is_a_line_and_a_file_with_the_traceback(empty):
    empty.write("script.json", {"run 1, attempt 1": {"edits": [["experiment.py", "not there", ""]]}})
    done = empty.type("run", "idea.json", *SCRIPTED)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" in (empty.folder / "runs" / "small" / ".harness" / "crash.txt").read_text()
    (empty.folder / "runs" / "odd").mkdir()
    empty.write("runs/odd/campaign.json", {"schema": SCHEMA, "created": 1, "options": [], "contract": 3})
    done = empty.type("status", "odd")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "crash.txt" in done.stderr


def test_a_replayed_campaign_goes_on_with_a_model_through_aider(begun, monkeypatch):
    from harness.campaign.campaign import Campaign

    changed = {}

    def go_on(campaign, *, changes, **more):
        changed.update(changes)
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.running.go_on", go_on)
    monkeypatch.setattr(Campaign, "options", lambda self: Options(agent="replay", max_runs=5))
    assert ask("resume", "small", "--model", "m", "--max-runs", "5", "--max-cost", "0").exit_code == 130
    assert changed == {"model": "m", "agent": "aider"}


@pytest.mark.parametrize(("option", "wanted"), [("--controls", {}), ("--no-controls", {"controls": False})])
def test_controls_can_be_switched_when_a_campaign_is_resumed(begun, monkeypatch, option, wanted):
    changed = []

    def go_on(campaign, *, changes, **more):
        changed.append(changes)
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.running.go_on", go_on)
    assert ask("resume", "small", option).exit_code == 130
    assert changed == [wanted]


def test_output_is_written_in_any_locale(desk):
    for environment in ({"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        done = desk.type("log", "latest", environment=environment)
        assert done.returncode == 0, done.stderr
        assert "学习率" in done.stdout
    done = desk.type("log", "latest", environment={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0, done.stderr


def test_a_reader_that_stops_reading_makes_no_noise(desk):
    reader, writer = os.pipe()
    os.close(reader)
    process = desk.start("notes", "latest", stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=HANGS)[1] == ""


def test_colour_is_for_terminals_and_not_with_no_color(desk, monkeypatch):
    assert "\x1b[" in ask("log", "latest", color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in ask("log", "latest", color=True).output


def test_settings_are_json_where_they_are_json():
    values = dict(parse_setting(text) for text in ("a=1", "b=0.5", "c=true", "d=null", "e=x=y", "f=NaN", 'g="1"', "h="))
    assert values == {"a": 1, "b": 0.5, "c": True, "d": None, "e": "x=y", "f": "NaN", "g": "1", "h": ""}


def test_a_path_among_settings_is_the_same_file_where_an_experiment_is_executed(empty, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    (empty.folder / ".hidden").mkdir()
    (empty.folder / "x").mkdir()
    here = empty.folder.resolve()
    for given, made in {
        "../my models/gpt2": str(here.parent / "my models/gpt2"),
        "./x": str(here / "x"),
        "./written": "./written",
        "~/models/x": "/home/me/models/x",
        ".hidden": str(here / ".hidden"),
        "google/gemma-2-2b": "google/gemma-2-2b",
        "/a/b": "/a/b",
        ".*": ".*",
    }.items():
        assert parse_setting(f"model={given}") == ("model", made)
        assert parse_setting(f'model="{given}"') == ("model", made)


def test_init_makes_a_folder_and_says_what_to_type(empty):
    done = ask("init", "new one")
    assert done.exit_code == 0
    assert (empty.folder / "new one" / "experiment.py").exists()
    assert "next: cd 'new one' && harness run ideas/" in done.output
    assert ask("init", "new one").exit_code == 2


def test_clean_lists_and_removes_only_what_is_named_after_asking(begun, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(begun.folder / "cache"))
    root = begun.folder / "runs" / "small"
    kept = begun.folder / "cache" / "baselines" / "one" / "1"
    kept.mkdir(parents=True)
    (kept / "final_info.json").write_bytes(bytes(3_000_000))
    assert "small" in ask("clean").output
    assert re.search(r"The caches take 3\.\d MB more; `harness cache`", ask("clean").output)
    assert ask("clean", "nothing").exit_code == 2
    assert ask("clean", "small", input="n\n").exit_code == 130
    assert root.exists()
    assert "which cannot be made again" in ask("clean", "small", "--yes").output
    assert not root.exists()


def test_agents_lists_all_and_says_how_to_install_the_missing(empty):
    output = ask("agents").output
    assert [line.split()[0] for line in output.splitlines() if line[0] != " "] == list(harness.agents.listing.AGENTS)
    assert ask("agents", "install", "nobody").exit_code == 2


def test_doctor_has_a_line_for_each_check_and_fails_when_one_fails(empty):
    done = ask("doctor", "--experiment", "experiment")
    assert done.exit_code == 0, done.output
    assert re.search(r"^ok +git", done.output, re.M)
    (empty.folder / "experiment" / "experiment.toml").write_text("nonsense = 1")
    done = ask("doctor", "--experiment", "experiment")
    assert done.exit_code == 4
    assert re.search(r"^fail +contract", done.output, re.M)
