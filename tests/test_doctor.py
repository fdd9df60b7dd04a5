"""`harness doctor` finds what is wrong, each thing for itself, and says what to do."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.agents.aider_environment import aider_python
from harness.campaign.contract import Setting
from harness.cli import machine_check
from harness.cli.doctor import diagnose
from harness.cli.doctor_check import Check
from harness.cli.model_choice import MODEL_VARIABLE, PROVIDERS
from harness.execution import jobs
from harness.execution.executors.gpu import visible_cards

from .executing import running
from .model_server import ModelServer, answer, refuses_key
from .waiting import HANGS, until

FAST = [
    "python",
    "git",
    "campaigns",
    "cache",
    "contract",
    "files",
    "seeds",
    "command",
    "packages",
    "environment",
    "confinement",
    "limits",
    "secrets",
    "agent",
    "gpu",
    "data",
]
FAST += ["key"]


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*PROVIDERS, MODEL_VARIABLE, "OPENAI_API_BASE", "OPENAI_BASE_URL", "CUDA_VISIBLE_DEVICES"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def examine(experiment: Path, tmp_path: Path) -> Callable[..., dict[str, Check]]:
    """The named checks of the small experiment."""

    def examine(*names: str, overrides: dict[str, Setting] | None = None, **given: Any) -> dict[str, Check]:
        asked: dict[str, Any] = dict.fromkeys(("profile", "model", "architect", "reviewer", "agent"))
        asked |= {"experiment": experiment, "python": sys.executable, "runs": tmp_path / "runs"} | given
        found: dict[str, Check] = {}
        for check in diagnose(**asked, overrides=overrides or {}):
            found[check.name] = check
            if set(names) <= set(found) and names:
                break
        return found

    return examine


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a shell script in front of the programs on PATH."""

    def make(name: str, script: str) -> None:
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return make


def test_a_sound_experiment_has_no_failed_check(examine: Callable[..., dict[str, Check]], tmp_path: Path) -> None:
    found = examine()
    assert list(found) == [*FAST, "baseline"]
    assert [check for check in found.values() if check.state == "fail"] == []
    assert "smoke test of the unmodified experiment took" in found["baseline"].detail
    assert not (tmp_path / "runs").exists()


def test_a_broken_check_is_a_finding_and_the_next_is_made(
    examine: Callable[..., dict[str, Check]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault() -> Check:
        raise ZeroDivisionError("of its own")

    monkeypatch.setattr(machine_check, "git", fault)
    found = examine("contract")
    assert found["git"].state == "fail"
    assert found["git"].detail == "could not be checked: ZeroDivisionError: of its own"
    assert found["contract"].state == "ok"


@pytest.mark.parametrize(
    ("script", "state"), [("echo git version 2.27.1", "fail"), ("echo git version 2.28.0.rc1", "ok"), ("echo x", "fail")]
)
def test_an_old_git_is_found(
    examine: Callable[..., dict[str, Check]], program: Callable[[str, str], None], script: str, state: str
) -> None:
    program("git", script)
    assert examine("git")["git"].state == state


def test_a_missing_git_is_found(
    examine: Callable[..., dict[str, Check]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = examine("git")["git"]
    assert found.state == "fail" and "Install git 2.28" in found.todo


def test_a_folder_that_cannot_be_written_is_found(examine: Callable[..., dict[str, Check]]) -> None:
    found = examine("campaigns", runs=Path("/proc/runs"))["campaigns"]
    assert found.state == "fail" and "/proc: cannot be written" in found.detail


def test_a_full_disk_is_found(examine: Callable[..., dict[str, Check]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert examine("cache")["campaigns"].state == "ok"
    monkeypatch.setattr(machine_check, "LOW_FREE", 1e18)
    assert examine("cache")["campaigns"].state == "warning"
    monkeypatch.setattr(machine_check, "MIN_FREE", 1e18)
    found = examine("cache")
    assert (found["campaigns"].state, found["cache"].state) == ("fail", "fail")
    assert "harness clean" in found["campaigns"].todo
    assert "harness cache" in found["cache"].todo and "HARNESS_CACHE" in found["cache"].todo


def test_a_contract_that_cannot_be_read_is_told_once(examine: Callable[..., dict[str, Check]], experiment: Path) -> None:
    (experiment / "experiment.toml").write_text("colour = 'red'\n")
    found = examine()
    assert [name for name, check in found.items() if check.state == "fail"] == ["contract"]
    assert "colour" in found["contract"].detail
    assert "since contract failed" in found["baseline"].detail


def test_what_a_contract_leaves_unjudged_is_said(examine: Callable[..., dict[str, Check]], experiment: Path) -> None:
    (experiment / "experiment.toml").unlink()
    found = examine()
    assert found["contract"].state == "warning"
    for what in ("no primary metric", "no sanity rules", "no smoke test"):
        assert what in found["contract"].detail
    assert found["baseline"].state == "ok" and "the unmodified experiment took" in found["baseline"].detail


def test_an_experiment_that_names_no_seed_is_warned_of(examine: Callable[..., dict[str, Check]], experiment: Path) -> None:
    assert "HARNESS_SEED" not in examine("contract", "seeds")["seeds"].detail
    code = experiment / "experiment.py"
    code.write_text(code.read_text().replace("HARNESS_SEED", "OTHER_SEED"))
    (experiment / "README.md").write_text("HARNESS_SEED is told to it")
    found = examine("contract", "seeds")["seeds"]
    assert found.state == "warning" and 'seed its random numbers with int(os.environ["HARNESS_SEED"])' in found.detail


def test_an_unknown_profile_or_setting_is_found(examine: Callable[..., dict[str, Check]]) -> None:
    assert "has no such profile" in examine("contract", profile="large")["contract"].detail
    found = examine("contract", overrides={"colour": "red"})["contract"]
    assert found.state == "fail" and "steps, rate" in found.detail


def test_an_experiment_without_the_commands_option_is_found(
    examine: Callable[..., dict[str, Check]], experiment: Path
) -> None:
    code = experiment / "experiment.py"
    code.write_text(code.read_text().replace("--out_dir", "--output"))
    found = examine("command")["command"]
    assert found.state == "fail" and "code does not name --out_dir" in found.detail
    code.write_text("import json\njson.dump({'loss': 1.0}, open('final_info.json', 'w'))\n")
    found = examine("command")["command"]
    assert found.state == "warning" and "code does not name --out_dir" in found.detail


def test_what_stays_behind_or_is_linked_is_named(examine: Callable[..., dict[str, Check]], experiment: Path) -> None:
    assert examine("files")["files"].state == "ok"
    (experiment / ".env").write_text("KEY=1")
    found = examine("files")["files"]
    assert (found.state, "may hold keys: .env" in found.detail) == ("warning", True)


def test_an_experiment_without_a_smoke_test_is_tried_in_a_working_copy(
    examine: Callable[..., dict[str, Check]], experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = experiment / "experiment.toml"
    contract.write_text(contract.read_text().replace("smoke = true", "smoke = false"))
    found = examine("baseline")["baseline"]
    assert found.state == "ok" and "the unmodified experiment took" in found.detail
    code = experiment / "experiment.py"
    sound = code.read_text()
    monkeypatch.setattr(jobs, "IDLE", 1.0)
    code.write_text(f"{sound}\nimport threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n")
    found = examine("baseline")["baseline"]
    assert found.state == "warning" and "the process did not exit" in found.detail and "os._exit(0)" in found.todo
    code.write_text(sound.replace('print("done"', 'open("no/data")\nprint("done"'))
    contract.write_text(
        contract.read_text().replace(
            "[limits]", "command = ['python', 'experiment.py', '--out_dir={out_dir}', '--more']\n[limits]"
        )
    )
    found = examine("baseline")["baseline"]
    assert found.state == "fail"
    assert f"mkdir -p /tmp/try && cd {experiment} && HARNESS_SEED=0 " in found.todo and found.todo.endswith(
        "experiment.py --out_dir=/tmp/try --more"
    )
    code.write_text('import os, sys\nos.makedirs(sys.argv[1].removeprefix("--out_dir="))\nopen("no/data")\n')
    found = examine("baseline")["baseline"]
    assert "no/data" in found.detail and "mkdir" not in found.todo
    assert re.search(r"experiment\.py --out_dir=/tmp/try-\w+ --more$", found.todo)


def test_what_looks_like_a_place_in_the_command_and_is_none_is_said(
    examine: Callable[..., dict[str, Check]], experiment: Path
) -> None:
    contract = experiment / "experiment.toml"
    contract.write_text('command = ["python", "experiment.py", "--out_dir={out_dir}", "--seed={seed}"]\n')
    found = examine("command")["command"]
    assert (found.state, "{seed}" in found.detail, "HARNESS_SEED" in found.todo) == ("warning", True, True)
    contract.write_text("""command = ["python", "experiment.py", "--out_dir={out_dir}", '{"width": 64}']\n""")
    assert examine("command")["command"].state == "ok"


def test_a_package_that_is_missing_is_found_where_it_is_needed_at_once(
    examine: Callable[..., dict[str, Check]], experiment: Path
) -> None:
    code = experiment / "experiment.py"
    code.write_text(code.read_text() + "\n\ndef later():\n    import not_there_either\n")
    (experiment / "beside.py").write_text("")
    assert examine("packages")["packages"].state == "ok"
    code.write_text("import not_there.inside\nimport beside\n" + code.read_text())
    found = examine("packages")["packages"]
    assert found.state == "fail" and found.detail.endswith("cannot import not_there")


PREPARE = """
import json, os, sys
assert sys.argv[1:] == ["--dry-run"]
settings = json.loads(os.environ["HARNESS_OVERRIDES"])
if settings.get("model") == "gated":
    sys.exit("the model is gated: accept its terms")
print("to make:", os.environ["HARNESS_PROFILE"], os.environ["HARNESS_LAB_CACHE"], os.environ.get("HF_TOKEN"))
"""


def test_what_the_experiment_would_prepare_is_said_and_what_it_cannot(
    examine: Callable[..., dict[str, Check]], experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert examine("data")["data"].detail == "the contract has no `prepare`, so nothing is prepared"
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path / "lab"))
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    (experiment / "make.py").write_text(PREPARE)
    contract = experiment / "experiment.toml"
    contract.write_text('prepare = ["python", "make.py"]\n' + contract.read_text() + '[profiles.p.settings]\nmodel = "m"\n')
    found = examine("data", profile="p")["data"]
    assert (found.state, found.detail) == ("ok", f"to make: p {tmp_path / 'lab'} hf_x")
    found = examine(profile="p", overrides={"model": "gated"})
    assert (found["data"].state, found["data"].detail) == ("fail", "the model is gated: accept its terms")
    assert found["baseline"].detail == "not checked, since data failed"


def test_files_with_a_key_and_variables_that_are_not_passed_on_are_listed(
    examine: Callable[..., dict[str, Check]], experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no file of the project holds a key" in examine("secrets")["secrets"].detail
    (experiment / ".env").write_text("OPENAI_API_KEY=sk-proj-0123456789abcdef\n")
    monkeypatch.setenv("MY_DATA", "/data")
    code = experiment / "experiment.py"
    code.write_text("import os\nDATA = os.environ.get('MY_DATA')\n" + code.read_text())
    found = examine("secrets", "environment")
    assert found["secrets"].detail.startswith("hidden from experiments, for they hold a key: ")
    assert found["secrets"].detail.endswith(".env") and "readable" in found["secrets"].todo
    assert "MY_DATA" in found["environment"].detail and "environment =" in found["environment"].todo
    contract = experiment / "experiment.toml"
    contract.write_text('readable = [".env"]\nenvironment = ["MY_DATA"]\n' + contract.read_text())
    found = examine("secrets", "environment")
    assert "no file of the project holds a key" in found["secrets"].detail
    assert "MY_DATA" not in found["environment"].detail


def test_code_that_is_not_python_is_found(examine: Callable[..., dict[str, Check]], experiment: Path) -> None:
    (experiment / "experiment.py").write_text("def (--out_dir\n")
    assert "experiment.py: is not Python" in examine("packages")["packages"].detail


@pytest.mark.parametrize("script", ["exit 3", "echo broken >&2; exit 1"])
def test_a_python_that_does_not_work_is_found(
    examine: Callable[..., dict[str, Check]], program: Callable[[str, str], None], script: str
) -> None:
    program("odd-python", script)
    assert examine("packages", python="odd-python")["packages"].state == "fail"
    assert "cannot be started" in examine("packages", python="no-such-python")["packages"].detail


def test_no_gpu_is_no_fault(
    examine: Callable[..., dict[str, Check]], program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    found = examine("gpu")["gpu"]
    assert found.state == "ok"
    assert found.detail == "no GPU (CUDA_VISIBLE_DEVICES=0): the experiment runs on the CPU"


def test_the_memory_of_visible_gpus_is_looked_at(
    examine: Callable[..., dict[str, Check]], program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("nvidia-smi", "echo '0, GPU-aa, A100, 1024, 81920'; echo '1, GPU-bb, A100, 80000, 81920'")
    found = examine("gpu")["gpu"]
    assert found.state == "warning" and "0: A100, 1 of 80 GiB free" in found.detail
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = examine("gpu")["gpu"]
    assert found.state == "ok" and found.detail == "1: A100, 78 of 80 GiB free (CUDA_VISIBLE_DEVICES=1)"


def test_gpus_are_chosen_as_cuda_chooses_them(program: Callable[[str, str], None]) -> None:
    program("nvidia-smi", "echo '0, GPU-aa, GB10, [N/A], [N/A]'; echo '1, GPU-bb, A100, 80000, 81920'")
    names = {visible: [card.index for card in visible_cards(visible)] for visible in ("", "-1", "1,0", "GPU-b", "0")}
    assert names == {"": [], "-1": [], "1,0": ["0", "1"], "GPU-b": ["1"], "0": ["0"]}
    assert [str(card) for card in visible_cards("0")] == ["0: GB10"]


def test_a_torch_that_does_not_see_the_gpu_is_found(
    examine: Callable[..., dict[str, Check]], experiment: Path, program: Callable[[str, str], None]
) -> None:
    program("nvidia-smi", "echo '0, GPU-aa, A100, 80000, 81920'")
    code = experiment / "experiment.py"
    code.write_text("import torch\n" + code.read_text())
    # In the folder of the experiment, so it is what the experiment would import.
    (experiment / "torch.py").write_text(
        "__version__ = '9.9+cpu'\nclass cuda:\n    is_available = staticmethod(lambda: False)\n"
    )
    found = examine("gpu")["gpu"]
    assert found.state == "warning" and "torch 9.9+cpu does not see it" in found.detail


def test_a_baseline_that_crashes_is_found_with_the_end_of_its_output(
    examine: Callable[..., dict[str, Check]], experiment: Path
) -> None:
    code = experiment / "experiment.py"
    code.write_text(code.read_text() + "\nraise RuntimeError('no such luck')\n")
    found = examine()["baseline"]
    assert found.state == "fail" and "no such luck" in found.detail
    assert "HARNESS_SMOKE=1" in found.todo


def test_a_metric_that_the_baseline_does_not_write_is_told_with_those_that_there_are(
    examine: Callable[..., dict[str, Check]], experiment: Path
) -> None:
    contract = experiment / "experiment.toml"
    contract.write_text(contract.read_text().replace('name = "loss"', 'name = "los"'))
    found = examine("baseline")["baseline"]
    assert found.state == "fail" and "no result file has a number for los; there are loss" in found.detail
    assert found.todo.startswith("Let the experiment write what is missing, or name") and "cd " not in found.todo


def test_a_baseline_is_executed_with_what_the_person_set(examine: Callable[..., dict[str, Check]], experiment: Path) -> None:
    code = experiment / "experiment.py"
    code.write_text(
        code.read_text()
        + "\nimport os\nif os.environ['HARNESS_OVERRIDES'] != '{}':\n    raise RuntimeError(os.environ['HARNESS_OVERRIDES'])\n"
    )
    assert '{"rate": 0.5}' in examine(overrides={"rate": 0.5})["baseline"].detail


def test_an_agent_that_is_missing_or_unknown_is_found(
    examine: Callable[..., dict[str, Check]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "unknown agent" in examine("agent", agent="cursor")["agent"].detail
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    assert examine("agent", agent="aider")["agent"].state == "warning"
    monkeypatch.setenv("PATH", str(tmp_path))
    found = examine("agent", agent="codex")["agent"]
    assert found.state == "fail" and "npm install" in found.todo


def test_no_model_is_a_warning_that_says_how_to_name_one(examine: Callable[..., dict[str, Check]]) -> None:
    found = examine("key")["key"]
    assert found.state == "warning" and "--model" in found.todo
    assert examine("key", agent="replay")["key"].state == "ok"


def test_a_command_line_agent_is_asked_and_says_in_its_words_what_is_missing(
    examine: Callable[..., dict[str, Check]], program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = '{"type": "result", "is_error": %s, "result": "%s", "session_id": "s", "num_turns": 1, "total_cost_usd": 0.01, '
    said += '"usage": {"input_tokens": 900, "output_tokens": 2}}'
    version = '[ "$1" = --version ] && { echo 2.1.197; exit; }'
    program("claude", f"{version}\necho '{said % ('false', 'ready')}'")
    found = examine(agent="claude")["answer"]
    assert found.state == "ok" and "900 tokens sent, 2 received, for $0.01" in found.detail
    program("claude", f"{version}\necho '{said % ('true', 'Not logged in · Please run /login')}'; exit 1")
    found = examine(agent="claude")["answer"]
    assert found.state == "fail" and "Not logged in" in found.detail
    assert "run `claude` and log in" in found.todo.lower() and "resume" not in found.todo


class TestModel:
    KEY = "sk-secret-aB3dE6gH9"

    @pytest.fixture(autouse=True)
    def aider_is_installed(self) -> None:
        aider_python(print)

    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
        with ModelServer() as server:
            monkeypatch.setenv("OPENAI_API_BASE", server.url)
            monkeypatch.setenv("OPENAI_API_KEY", self.KEY)
            yield server

    def test_a_model_that_answers_is_asked_once_and_its_cost_is_told(
        self, examine: Callable[..., dict[str, Check]], server: ModelServer
    ) -> None:
        server.says(answer("ready", sent=1000, received=100), answer("ready"))
        found = examine(model="openai/gpt-4o", reviewer="openai/some-model")
        assert found["model"].state == "ok", found["model"]
        assert "1,000 tokens sent, 100 received, for $0.0035" in found["model"].detail
        assert "at unknown cost" in found["reviewer"].detail
        assert len(server.requests) == 2
        assert not any(self.KEY in str(dataclasses.astuple(check)) for check in found.values())

    @pytest.mark.slow
    def test_a_model_of_ones_own_may_not_answer_without_end_and_its_context_is_held_against_the_first_turn(
        self, examine: Callable[..., dict[str, Check]], server: ModelServer
    ) -> None:
        server.says(*["ready"] * 2)
        server.facts["/props"] = {"default_generation_settings": {"n_ctx": 131_072}}
        found = examine(model="openai/own")["model"]
        assert found.state == "ok" and "of its 131,072 tokens" in found.detail
        assert server.requests[0]["max_tokens"] == 64
        server.facts = {"/api/v0/models": {"data": [{"id": "own", "loaded_context_length": 512}]}}
        found = examine(model="openai/own")["model"]
        assert found.state == "fail" and "openai/own takes 512" in found.detail and "llama-server -c" in found.todo

    @pytest.mark.slow
    def test_a_refused_key_is_found_and_not_shown(
        self, examine: Callable[..., dict[str, Check]], server: ModelServer
    ) -> None:
        server.says(refuses_key)
        found = examine(model="openai/gpt-4o")
        assert found["model"].state == "fail" and "Incorrect API key" in found["model"].detail
        assert not any(self.KEY in str(dataclasses.astuple(check)) for check in found.values())

    def test_a_model_without_a_key_is_not_asked(self, examine: Callable[..., dict[str, Check]], server: ModelServer) -> None:
        found = examine(model="anthropic/some-model")
        assert found["key"].state == "fail" and "ANTHROPIC_API_KEY" in found["key"].detail
        assert found["model"].state == "warning" and "since key failed" in found["model"].detail
        assert server.requests == []

    @pytest.mark.slow
    def test_a_key_alone_chooses_a_model_and_asks_nothing(
        self, examine: Callable[..., dict[str, Check]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", self.KEY)
        found = examine("key")
        assert found["key"].state == "ok" and PROVIDERS["ANTHROPIC_API_KEY"] in found["key"].detail


def test_ctrl_c_in_the_baseline_leaves_nothing_running(experiment: Path, tmp_path: Path) -> None:
    (experiment / "experiment.py").write_text(
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('here', flush=True)\ntime.sleep(600)\n"
    )
    script = (
        "from pathlib import Path\nfrom harness.campaign.campaign import Options\nfrom harness.cli.smoke_test import smoke_test_baseline\n"
        f"try:\n    smoke_test_baseline(Path({str(experiment)!r}), Options())\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as process:

        def printed() -> str:
            logs = tmp_path.glob("harness-temporary-*/*/*/.harness/executions/*/job/log.txt*")
            return "".join(log.read_text() for log in logs)

        until(lambda: printed().endswith("\n"))
        assert running(tmp_path)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=HANGS)
    assert said == "interrupted\n"
    assert not running(tmp_path)
    assert list(tmp_path.glob("harness-temporary-*")) == []
