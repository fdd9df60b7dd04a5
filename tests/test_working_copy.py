"""The working copy is the experiment: what is in its folder goes along, and paths lead where they lead by hand."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign import experiment_folder
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.contract_file import load_contract
from harness.campaign.errors import CannotGoOn, InputError
from harness.campaign.experiment_folder import take_inventory
from harness.campaign.idea import Idea
from harness.campaign.journal import PARTS, Journal
from harness.campaign.notes_text import NOTES_PARTS
from harness.campaign.open_campaign import OpenCampaign
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.execution import working_copy
from harness.execution.executions import ExecutionResult, Executions
from harness.execution.executors import find_executor
from harness.execution.jobs import Jobs, Variant
from harness.report.recorder import Recorder

IDEA = Idea(Name="theirs", Title="Their idea", Experiment="Do it.")
BEGINNING = "import json, os, pathlib, subprocess, sys\nout = sys.argv[-1].partition('=')[2]\n"
END = "\nos.makedirs(out, exist_ok=True)\njson.dump({'loss': 1}, open(out + '/final_info.json', 'w'))\n"

Execute = Callable[..., ExecutionResult]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An experiment deep in a project, as AI-Scientist's templates lie."""
    folder = tmp_path / "home" / "project" / "templates" / "theirs"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, code: str = "", end: str = END) -> None:
    (folder / "experiment.py").write_text(BEGINNING + textwrap.dedent(code) + end)


def create(folder: Path, said: list[str] | None = None) -> Campaign:
    say = said.append if said is not None else lambda line: None
    return create_campaign(folder.parents[2] / "out", IDEA, folder, Options(), python=sys.executable, say=say)


@pytest.fixture
def execute(folder: Path) -> Execute:
    """Executes the unmodified experiment, as run 0 or another."""

    def execute(code: str = "", end: str = END, run: int = 0, name: str = "run_0/execute") -> ExecutionResult:
        write(folder, code, end)
        campaign = create(folder)
        opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
        executions = Executions(opened, find_executor("local"))
        Recorder(opened, executions).start()
        return executions.execute(name, opened.first_commit, run, Variant(0))

    return execute


def ended(result: ExecutionResult) -> tuple[str, str]:
    return (result.outcome.ended, "" if result.outcome.ended == "ok" else result.outcome.why)


def test_all_that_is_in_the_folder_goes_along(folder: Path, execute: Execute) -> None:
    for name in ("run_utils.py", "run_data/a.txt", "data/.vocab.json", ".config", "run_1x"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("ONE = 1\n")
    (folder / "tools").mkdir()
    (folder / "tools" / "score.sh").write_text("#!/bin/sh\necho 1\n")
    (folder / "tools" / "score.sh").chmod(0o755)
    (folder / "out" / "plots").mkdir(parents=True)
    (folder / "data" / "link").symlink_to("a.txt")
    (folder / "data" / "a.txt").write_text("here")
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to(folder / "data", target_is_directory=True)
    Path(os.fsdecode(os.fsencode(folder) + b"/donn\xe9es.csv")).write_text("1,2")
    result = execute(
        """
        import run_utils
        assert open("run_data/a.txt").read() == open("data/.vocab.json").read() == open(".config").read() == open("run_1x").read()
        assert subprocess.run(["./tools/score.sh"], capture_output=True).stdout == b"1\\n"
        assert os.listdir("out/plots") == []
        assert open("data/link").read() == open("up/a.txt").read() == "here"
        open("data/a.txt", "w").write("its own")
        assert open("up/link").read() == "its own"
        assert open(b"donn\\xe9es.csv").read() == "1,2"
        assert os.readlink("loop") == "loop"
        """
    )
    assert ended(result) == ("ok", "")
    assert (folder / "data" / "a.txt").read_text() == "here"


@pytest.mark.parametrize("run", [0, 1])
def test_paths_that_lead_out_of_the_folder_lead_where_they_do_by_hand(folder: Path, execute: Execute, run: int) -> None:
    project = folder.parents[1]
    (project / "data").mkdir()
    (project / "data" / "train.bin").write_bytes(b"12")
    (project / "common.py").write_text("ONE = 1\n")
    (folder.parent / "beside.py").write_text("TWO = 2\n")
    (project.parent / "far").write_text("3")
    result = execute(
        f"""
        root = "../../data" if {run} == 0 else "../../../data"  # as AI-Scientist's nanoGPT does
        assert open(os.path.join(root, "train.bin"), "rb").read() == b"12"
        sys.path += ["../..", ".."]
        import common, beside
        assert (pathlib.Path(__file__).resolve().parents[2] / "data" / "train.bin").exists()
        assert open("../../../far").read() == "3"
        try:
            open("../../data/train.bin", "w")
        except OSError:
            pass
        """,
        run=run,
    )
    assert ended(result) == ("ok", "")
    assert (project / "data" / "train.bin").read_bytes() == b"12"


def test_links_to_what_lies_beside_the_experiment_are_made_once_for_all_executions(folder: Path) -> None:
    (folder.parent / "beside.py").write_text("TWO = 2\n")
    write(folder)
    campaign = create(folder)
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    executions = Executions(opened, find_executor("local"))
    Recorder(opened, executions).start()
    links = []
    for number in (1, 2):
        place = campaign.local / f"{number}"
        working_copy.make(place, campaign, opened.repository, opened.first_commit)
        links.append(working_copy.folder_of(place, folder).parent / "beside.py")
    assert links[0].samefile(folder.parent / "beside.py")
    assert links[0].lstat().st_ino == links[1].lstat().st_ino
    executions.close()
    assert links[0].exists() and not working_copy.links_of(campaign).exists()


def test_a_file_that_only_the_experiments_own_folder_leads_to_is_explained(folder: Path, execute: Execute) -> None:
    (folder.parents[3] / "far").write_text("3")
    ended, why = (lambda o: (o.ended, o.why))(execute("open('../../../../far')").outcome)
    assert ended == "crashed"
    assert "../../../../far leads out of the experiment's folder: not from the working copy" in why
    assert "absolute path" in why
    assert "../no/data leads out of the experiment's folder: nothing is there" in execute("open('../no/data')").outcome.why
    assert str(folder) not in why


def test_a_file_with_keys_stays_behind_and_is_named(folder: Path, execute: Execute) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / ".env").write_text("KEY=1")
    result = execute("open('conf/.env')")
    assert "conf/.env stays behind when the experiment is copied" in result.outcome.why
    said: list[str] = []
    create(folder, said)
    assert said == ["Not copied, may hold keys: conf/.env."]


def test_caches_environments_and_campaigns_stay_behind(folder: Path) -> None:
    write(folder)
    for name in (
        "__pycache__/x",
        ".git/HEAD",
        "venv/pyvenv.cfg",
        "run_3/final_info.json",
        "runs/a/campaign.json",
        "w/.git/x",
    ):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("")
    os.mkfifo(folder / "pipe")
    said: list[str] = []
    campaign = create(folder, said)
    assert {path.name for path in campaign.root.iterdir()} == {
        ".harness",
        "campaign.json",
        "experiment.py",
        "idea.json",
        "w",
    }
    assert sorted(said) == ["Not copied, environments of packages: venv.", "Not copied, neither files nor folders: pipe."]


def test_what_is_large_is_linked_and_cannot_be_written(
    folder: Path, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_folder, "MAX_FILE", 1_000)
    monkeypatch.setattr(experiment_folder, "MAX_FOLDER", 3_000)
    (folder / "images").mkdir()
    for number in range(5):
        (folder / "images" / str(number)).write_bytes(bytes(900))
    (folder / "small").mkdir()
    (folder / "small" / "train.bin").write_bytes(bytes(2_000))
    (folder / "small" / "about.txt").write_text("hello")
    (folder.parents[2] / "big").mkdir()
    (folder.parents[2] / "big" / "a.txt").write_text("1 2 3")
    (folder / "data").symlink_to("../../../big")
    result = execute(
        """
        assert len(open("images/4", "rb").read()) == 900
        assert len(open("small/train.bin", "rb").read()) == 2000
        assert open("data/a.txt").read() == "1 2 3"
        open("small/about.txt", "w").write("mine")
        for path in ("images/5", "small/train.bin", "data/a.txt"):
            try:
                open(path, "w")
            except OSError as error:
                print("refused", path)
        """
    )
    assert ended(result) == ("ok", "")
    assert not (folder / "images" / "5").exists()
    assert (folder.parents[2] / "big" / "a.txt").read_text() == "1 2 3"
    said: list[str] = []
    campaign = create(folder, said)
    assert said[0].endswith("and not write: images (0 MB), small/train.bin (0 MB).")
    assert "data -> " in said[1]
    assert campaign.linked.keys() == {"images", "small/train.bin", "data"}


@pytest.mark.parametrize("contract", ["", 'files = ["big.bin"]\n'])
def test_a_large_file_is_never_in_memory_nor_kept_a_second_time(folder: Path, contract: str) -> None:
    write(folder)
    if contract:
        (folder / "experiment.toml").write_text(contract)
    with (folder / "big.bin").open("wb") as file:
        file.truncate(400 * 10**6)
    tracemalloc.start()
    campaign = create(folder)
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    Recorder(opened, Executions(opened, find_executor("local"))).start()
    working_copy.make(campaign.local / "copy", campaign, opened.repository, opened.first_commit)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    copy = working_copy.folder_of(campaign.local / "copy", folder)
    assert (copy / "big.bin").samefile(folder / "big.bin") and (copy / "experiment.py").is_file()
    assert peak < 40 * 10**6
    assert sum(path.lstat().st_size for path in campaign.root.rglob("*") if not path.is_symlink()) < 10**6


@pytest.mark.parametrize(
    ("silence", "idle"), [("", 60.0), ('[limits]\nsilence = "20s"\n', 60.0), ('[limits]\nsilence = "5m"\n', 300.0)]
)
def test_what_is_complete_may_be_silent_for_a_minute_or_as_long_as_the_contract_says(
    folder: Path, silence: str, idle: float
) -> None:
    write(folder)
    (folder / "experiment.toml").write_text(silence)
    campaign = create(folder)
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    assert Jobs(opened).job(campaign.execution("run_0/execute"), 0, Variant(0)).limits.idle == idle


def test_a_pointer_of_git_lfs_is_said_to_be_none_of_the_data(folder: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
    for name, content in (("data/weights.bin", pointer), ("data/notes.md", "x" * 150)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    (said,) = take_inventory(folder, ["data"]).sentences
    assert said.endswith("which `git lfs pull` fetches: data/weights.bin.")


def test_what_the_agent_may_edit_is_never_linked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment_folder, "MAX_FOLDER", 1_000)
    (folder / "src").mkdir()
    (folder / "src" / "model.py").write_bytes(b"#" * 2_000)
    assert take_inventory(folder, ["src"]).linked.keys() == {"src"}
    with pytest.raises(InputError, match="may edit"):
        take_inventory(folder, ["src"], ["src/model.py"])


@pytest.mark.parametrize(
    "make",
    [
        "os.makedirs(out)",
        "os.mkdir(out)",
        "subprocess.run(['mkdir', out], check=True)",
        "if os.path.exists(out): raise ValueError(f'Output directory ({out}) already exists')\nos.mkdir(out)",
        "if os.path.exists(out): raise SystemExit('I will not overwrite anything')\nos.mkdir(out)",
        "if os.path.isdir(out): print('found', out); raise SystemExit\nos.mkdir(out)",
        "if os.path.isdir(out): raise SystemExit(1)\nos.mkdir(out)",
        "print('my experiment, 3rd edition')\nif os.path.isdir(out): raise SystemExit('schon da')\nos.mkdir(out)",
    ],
)
def test_an_experiment_that_makes_its_out_dir_itself_works(execute: Execute, make: str) -> None:
    result = execute(make)
    assert ended(result) == ("ok", "")
    assert json.loads((result.folder / "final_info.json").read_text()) == {"loss": 1}
    assert "executed a second time, without one" in " ".join(result.remarks)  # which the record has among its warnings


@pytest.mark.parametrize("step", ["forget", "_remember"])
def test_a_harness_that_is_killed_before_it_executes_again_finds_the_same_once_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write(folder, "if os.path.isdir(out): raise SystemExit('there')\nos.mkdir(out)\n", END)
    campaign = create(folder)
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    executions = Executions(opened, find_executor("local"))
    Recorder(opened, executions).start()
    its_own, called = getattr(Executions, step), []

    def kill(self: Executions, name: str) -> None:
        called.append(name)
        if name == ("run_0/execute" if step == "forget" else opened.first_commit) and len(called) == (step == "forget") + 1:
            raise KeyboardInterrupt
        its_own(self, name)

    monkeypatch.setattr(Executions, step, kill)
    with pytest.raises(KeyboardInterrupt):
        executions.execute("run_0/execute", opened.first_commit, 0, Variant(0))
    result = executions.execute("run_0/execute", opened.first_commit, 0, Variant(0))
    assert ended(result) == ("ok", "") and len(result.remarks) == 1


def test_of_an_experiment_that_fails_without_its_out_dir_too_nothing_is_remembered(folder: Path, execute: Execute) -> None:
    result = execute("raise SystemExit('the data does not exist')\n")
    assert ended(result)[0] == "crashed" and "the data does not exist" in ended(result)[1]
    assert [*folder.parents[2].rglob("makes_own_out_dir")] and not [*folder.parents[2].rglob("makes_own_out_dir/*")]


def test_a_crash_of_its_own_is_not_executed_again(folder: Path, execute: Execute) -> None:
    result = execute("import no_such_package\n")
    assert ended(result) == ("crashed", "exit code 1: ModuleNotFoundError: No module named 'no_such_package'")
    assert not [*folder.parents[2].rglob("makes_own_out_dir")]


def test_results_that_were_filed_before_the_harness_was_killed_are_no_reason_to_execute_again(folder: Path) -> None:
    write(folder, "", END)
    campaign = create(folder)
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    executions = Executions(opened, find_executor("local"))
    Recorder(opened, executions).start()
    done = [executions.execute("run_0/execute", opened.first_commit, 0, Variant(0))]
    for path in done[0].folder.iterdir():
        path.rename(folder.parents[2] / path.name)
    done.append(executions.execute("run_0/execute", opened.first_commit, 0, Variant(0)))
    assert [ended(each) for each in done] == 2 * [("ok", "")] and done[0].outcome == done[1].outcome
    assert not [*folder.parents[2].rglob("makes_own_out_dir")]


def test_an_experiment_that_makes_no_out_dir_finds_one(execute: Execute) -> None:
    result = execute(end=END.replace("os.makedirs(out, exist_ok=True)\n", ""))
    assert ended(result) == ("ok", "") and not result.remarks


def test_a_campaign_that_could_not_be_made_is_not_left_half_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder)
    out = folder.parents[2] / "out"
    monkeypatch.setattr("harness.campaign.campaign.now", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        create(folder)
    assert not out.exists()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CannotGoOn, match="git"):
        create(folder)
    assert not out.exists()


def test_a_contract_that_names_no_files_leaves_none_behind(folder: Path) -> None:
    write(folder)
    (folder / "datasets.py").write_text("")
    (folder / "experiment.toml").write_text('editable = ["experiment.py", "discriminator.py"]\nreadable = ["datasets.py"]\n')
    contract = load_contract(folder)
    assert contract.files == ["datasets.py"]
    assert not contract.smoke
    (folder / "experiment.toml").write_text("files = []\n")
    assert load_contract(folder).files == []


def test_a_file_that_the_agent_shall_make_need_not_be_there(folder: Path) -> None:
    write(folder)
    (folder / "experiment.toml").write_text('editable = ["new.py", "experiment.py"]\n')
    assert load_contract(folder).editable == ["new.py", "experiment.py"]
    (folder / "experiment.toml").write_text('editable = ["new.py"]\ncommand = ["python", "new.py", "{out_dir}"]\n')
    with pytest.raises(InputError, match=r"new\.py: no such file"):
        load_contract(folder)


def test_a_folder_without_an_experiment_is_told_what_to_write(folder: Path) -> None:
    write(folder)
    (folder / "experiment.py").rename(folder / "train.py")
    for toml in ("", 'editable = ["train.py"]\n'):
        (folder / "experiment.toml").write_text(toml)
        with pytest.raises(InputError, match=r"experiment\.py: no such file, and no command") as refused:
            load_contract(folder)
    command, editable = str(refused.value).partition("experiment.toml: ")[2].removesuffix(".").split(", and ")
    (folder / "experiment.toml").write_text(f"{command}\n{editable}\n")
    assert load_contract(folder).command == ["python", "train.py", "--out_dir={out_dir}"]


@pytest.mark.parametrize(("name", "start"), [("mine/__main__.py", ["python", "-m", "mine"]), ("go.sh", ["bash", "go.sh"])])
def test_a_package_and_a_shell_script_are_told_their_command_too(folder: Path, name: str, start: list[str]) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("")
    with pytest.raises(InputError) as refused:
        load_contract(folder)
    command, editable = str(refused.value).partition("experiment.toml: ")[2].removesuffix(".").split(", and ")
    (folder / "experiment.toml").write_text(f"{command}\n{editable}\n")
    assert load_contract(folder).command[:-1] == start and load_contract(folder).editable == [name]


def test_a_pattern_in_the_place_of_a_file_is_refused_where_no_file_has_that_name(folder: Path) -> None:
    write(folder)
    for key in ("editable", "auxiliary"):
        (folder / "experiment.toml").write_text(f'{key} = ["src/*.py", "experiment.py"]\n')
        with pytest.raises(InputError, match=rf"{key}: src/\*\.py is no file, and a pattern is not read"):
            load_contract(folder)
    (folder / "src").mkdir()
    (folder / "src" / "*.py").write_text("")
    assert load_contract(folder).auxiliary == ["src/*.py", "experiment.py"]


def test_no_file_of_an_experiment_has_the_name_of_one_that_a_campaign_has(tmp_path: Path) -> None:
    own = {path.name for path in vars(Campaign(tmp_path)).values() if isinstance(path, Path) and path.parent == tmp_path}
    assert {name for name in own if Path(name).suffix} | {PARTS, NOTES_PARTS} == experiment_folder.OF_A_CAMPAIGN
    for name in experiment_folder.OF_A_CAMPAIGN:
        (tmp_path / name).write_text("the experiment's")
    found = take_inventory(tmp_path, experiment_folder.OF_A_CAMPAIGN)
    assert not found.files and set(found.left_out[experiment_folder.TAKEN]) == experiment_folder.OF_A_CAMPAIGN
    with pytest.raises(InputError, match=r"idea\.json: a campaign has a file of its own of that name"):
        take_inventory(tmp_path, ["idea.json"], code=["idea.json"])
