"""`harness init`: a folder that runs at once, and refuses to be written over anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jsonschema import ValidationError, validate

from harness.agents.search import check_search
from harness.campaign.campaign import Options, create_campaign
from harness.campaign.contract_file import load_contract
from harness.campaign.errors import CannotGoOn, InputError
from harness.campaign.idea import SCORES, load_ideas
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.cli.init import create_experiment
from harness.cli.model_choice import find_session
from harness.cli.schema import contract_schema, idea_schema
from harness.continuation import go_on
from harness.results.reading import read_results
from harness.results.sanity import check_sanity
from tests.waiting import HANGS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_experiment(tmp_path / "mine")
    return tmp_path / "mine"


def execute(folder: Path, **environment: str) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-I", "experiment.py", "--out_dir=run_0"]
    subprocess.run(command, cwd=folder, env={"PATH": os.environ["PATH"], **environment}, check=True, timeout=HANGS)
    found: dict[str, dict[str, float]] = json.loads((folder / "run_0" / "final_info.json").read_text())
    return found


def test_the_experiment_runs_with_the_standard_library_and_passes_its_contract(folder: Path) -> None:
    execute(folder)
    contract = load_contract(folder)
    results = read_results(folder / "run_0")
    assert check_sanity(contract, "small", results) == []
    assert contract.not_judged == []
    assert results.findings == []
    assert set(contract.comparable) <= set(results.settings)


def test_the_search_space_in_the_contract_is_one_where_its_marks_are_taken_away(folder: Path) -> None:
    contract = folder / "experiment.toml"
    before, there, after = contract.read_text().partition("# [profiles.small.search]\n# ")
    contract.write_text(before + there.replace("# ", "") + after)
    assert check_search(folder, Options(), "search:tpe") == "lr (0.01 to 0.3 (log); now 0.1)"


def test_the_experiment_honours_what_the_harness_asks(folder: Path) -> None:
    smoke = execute(folder, HARNESS_SMOKE="1", HARNESS_SEED="3", HARNESS_OVERRIDES='{"noise": 0.5}')
    assert smoke["settings"]["steps_done"] == 5
    assert smoke["settings"]["seed"] == 3
    assert smoke["settings"]["noise"] == 0.5
    other = execute(folder, HARNESS_SMOKE="1", HARNESS_SEED="4", HARNESS_OVERRIDES='{"noise": 0.5}')
    assert other["metrics"]["test_error"] != smoke["metrics"]["test_error"]


def test_every_profile_of_the_contract_runs(folder: Path) -> None:
    for profile, spec in load_contract(folder).profiles.items():
        found = execute(folder, HARNESS_SMOKE="1", HARNESS_PROFILE=profile)
        assert found["settings"]["features"] == spec.settings["features"]


def test_its_idea_has_every_field(folder: Path) -> None:
    idea = load_ideas(folder / "ideas" / "first.json").choose(None)
    assert {"Name", "Title", "Experiment", *SCORES} <= set(idea.model_dump())


def test_editors_find_the_schemas_and_these_take_what_it_wrote(folder: Path) -> None:
    contract, idea = (folder / "experiment.toml").read_text(), (folder / "ideas" / "first.json").read_text()
    assert (folder / contract.split("\n")[0].removeprefix("#:schema ")).is_file()
    assert (folder / "ideas" / json.loads(idea)["$schema"]).is_file()
    validate(tomllib.loads(contract), contract_schema())
    validate(json.loads(idea), idea_schema())
    with pytest.raises(ValidationError, match="10 parsecs"):
        validate({"limits": {"time": "10 parsecs"}}, contract_schema())
    with pytest.raises(ValidationError):
        validate([{"Name": "a", "Title": "b"}], idea_schema())
    assert "$schema" not in load_ideas(folder / "ideas" / "first.json").choose(None).model_dump()


def test_every_key_of_the_contract_is_explained() -> None:
    schema = contract_schema()
    parts = {"": schema, **schema["$defs"]}
    bare = [
        f"{part}.{key}"
        for part, found in parts.items()
        for key, spec in found.get("properties", {}).items()
        if not spec.get("description")
    ]
    assert not bare


def test_its_session_is_a_campaign_without_a_model_that_comes_to_verdicts(quick: None, folder: Path, tmp_path: Path) -> None:
    idea = load_ideas(folder / "ideas" / "first.json").choose(None)
    session = find_session(idea.Name, folder / "ideas" / "first.json")
    assert session == folder.resolve() / "sessions" / "first.md"
    campaign = create_campaign(
        tmp_path / "runs", idea, folder, Options(agent="replay"), python=sys.executable, session=session
    )
    ending = go_on(campaign, view=Silent(), stop=Stop())
    assert ending.reason == "all_completed", ending.message
    errors = [record.metrics["test_error"].value for record in campaign.read_records()]
    assert errors == sorted(errors, reverse=True) and len(set(errors)) == 3
    assert [len(record.attempts) for record in campaign.read_records()[1:]] == [1, 1]
    assert [record.verdict.kind for record in campaign.read_records()[1:]] == ["improved", "not_significant"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    files = create_experiment(tmp_path / "empty")
    assert Path("experiment.py") in files
    assert all((tmp_path / "empty" / file).is_file() for file in files)


def test_a_folder_that_is_not_empty_stays_untouched(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        create_experiment(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]


def test_a_file_or_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(InputError, match="not a folder"):
            create_experiment(tmp_path / name)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_made_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CannotGoOn, match="cannot be written"):
        create_experiment(tmp_path / "file" / "below")
