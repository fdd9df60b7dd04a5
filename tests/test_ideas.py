"""Ideas and contracts are validated once, with a message that names file and key."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from harness.agents.brief import idea_in_words
from harness.campaign.contract_file import default_contract, load_contract
from harness.campaign.errors import InputError
from harness.campaign.idea import SCORES, Idea, load_ideas

from .unprivileged import unprivileged

ROOT = Path(__file__).parents[1]
SHIPPED = ("hierarchy", "tree", "orthogonality")
SPEC = {"Name": "a", "Title": "A title", "Experiment": "Try it."}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def choose_idea(path: Path, name: str | None = None) -> Idea:
    return load_ideas(path).choose(name)


def refusal(call, *args):
    with pytest.raises(InputError) as caught:
        call(*args)
    assert caught.value.exit_code == 2
    return str(caught.value)


# --- ideas ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_idea_has_every_field(name):
    idea = choose_idea(ROOT / "ideas" / f"{name}.json", None)
    assert idea.Name == name
    fields = idea.model_dump()
    assert {key for key, value in fields.items() if value in (None, "", [])} == set()
    assert {*SCORES, "Abstract", "Technical_Details", "Implementation_Plan", "Expected_Research_Impact", "novel"} <= set(
        fields
    )


def test_an_idea_needs_no_more_than_name_title_and_experiment(tmp_path):
    assert choose_idea(write(tmp_path / "i.json", SPEC)).Title == "A title"


def test_unknown_fields_of_an_idea_are_kept(tmp_path):
    assert choose_idea(write(tmp_path / "i.json", {**SPEC, "Budget": 3})).model_extra == {"Budget": 3}


def test_one_idea_of_a_list_is_chosen_by_name(tmp_path):
    path = write(tmp_path / "i.json", [SPEC, {**SPEC, "Name": "b"}])
    assert choose_idea(path, "b").Name == "b"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "line 1: not JSON"),
        ("", "not JSON"),
        ("# An idea in Markdown", 'An idea is {"Name": "a_name", "Title": "A title", "Experiment": "What to try"}'),
        ("3", "expected an object, found int"),
        ([], "an empty list"),
        ([3], "[0].: expected an object, found int"),
        ({"Name": "a", "Experiment": "x"}, "Title: missing. An idea needs Name, Title and Experiment"),
        ({"Name": "a", "Title": "t"}, "Experiment: missing. An idea needs Name, Title and Experiment"),
        ({"Title": "t", "Experiment": "x"}, "Name: missing. An idea needs Name, Title and Experiment"),
        ({**SPEC, "Title": ""}, "Title"),
        ({**SPEC, "Title": "  "}, "Title"),
        ({**SPEC, "Experiment": ""}, "Experiment"),
        ({**SPEC, "Experiment": 3}, "Experiment"),
        ({**SPEC, "Name": ""}, "Name"),
        ({**SPEC, "Name": "a/b"}, "Name"),
        ({**SPEC, "Name": ".."}, "Name"),
        ({**SPEC, "Name": "../x"}, "Name"),
        ({**SPEC, "Name": "-x"}, "Name"),
        ({**SPEC, "Name": "a\n"}, "Name"),
        ({**SPEC, "Name": "ä"}, "Name"),
        ({**SPEC, "Name": "x" * 65}, "Name"),
        ({**SPEC, "Name": None}, "Name"),
        ('{"Name": "a", "Title": "t", "Experiment": "\\ud800"}', "an incomplete character ('\\ud800')"),
        ({**SPEC, "Experiment": 3}, "Experiment: expected a text, a list or an object that is not empty."),
        (
            {**SPEC, "Experiment": {}, "Experiments": []},
            "Experiment: expected a text, a list or an object that is not empty.",
        ),
        ([{**SPEC, "Title": 3}], "[0].Title: expected a text"),
        (
            {"Name": "a", "Title": "t", "Plan": "x"},
            "Experiment: missing. An idea needs Name, Title and Experiment; this one has Name",
        ),
        ("[" * 10_000 + "]" * 10_000, "nested too deep"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "nested too deep"),
        ('"' + "x" * 1_000_001 + '"', "larger than 1,000,000 bytes"),
        ('{"Name": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_a_bad_idea_is_refused_with_file_and_key(tmp_path, content, words):
    path = write(tmp_path / "idea with space ü.json", content)
    message = refusal(choose_idea, path)
    assert message.startswith(str(path))
    assert words in message
    assert "input should be" not in message.lower()


def test_an_idea_that_cannot_be_read_is_named(tmp_path):
    assert "no such file" in refusal(load_ideas, tmp_path / "missing.json")
    assert "Is a directory" in refusal(load_ideas, tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"Name": "\xe4"}')
    assert "not UTF-8 text (byte 10)" in refusal(load_ideas, tmp_path / "latin.json")
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in refusal(load_ideas, tmp_path / "pipe")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_and_carriage_returns_are_no_error(tmp_path, encoding):
    (tmp_path / "i.json").write_bytes(
        json.dumps({**SPEC, "Title": "Tücke"}, indent=1).replace("\n", "\r\n").encode(encoding)
    )
    assert choose_idea(tmp_path / "i.json").Title == "Tücke"


@pytest.mark.parametrize("bad", [3, None, {}, {"Name": 3}, {"Name": "two words"}, {**SPEC, "Name": "b"}, {"Name": "b"}])
def test_a_bad_or_repeated_idea_elsewhere_in_a_list_does_not_matter(tmp_path, bad):
    path = write(tmp_path / "i.json", [bad, {**SPEC, "Name": "b", "Title": "Another"}, SPEC, bad])
    assert choose_idea(path, "a").Title == "A title"


def test_of_several_ideas_of_one_name_one_is_chosen_by_its_number(tmp_path):
    path = write(tmp_path / "i.json", [SPEC, {**SPEC, "Title": "Another"}, {**SPEC, "Name": "b"}])
    message = refusal(choose_idea, path, "a")
    assert "2 ideas are called a" in message
    assert "--idea a#1 (A title); --idea a#2 (Another)" in message
    assert choose_idea(path, "a#1").Title == "A title"
    assert choose_idea(path, "a#2").Title == "Another"
    assert "no idea called a#3; it holds: a#1, a#2, b" in refusal(choose_idea, path, "a#3")


def test_an_idea_that_is_there_twice_word_by_word_is_one(tmp_path):
    path = write(tmp_path / "i.json", [SPEC, {**SPEC, "Name": "b"}, SPEC])
    assert load_ideas(path).names == ["a", "b"]
    assert choose_idea(path, "a").Name == "a"


@pytest.mark.parametrize("steps", ["Try it.", ["Try it.", "Then that."], {"first": "x"}, [{"Step": "x"}, {"Step": ["y"]}]])
@pytest.mark.parametrize("key", ["Experiment", "Experiments"])
def test_the_experiment_of_an_idea_is_text_a_list_or_an_object_under_either_name(tmp_path, key, steps):
    idea = choose_idea(write(tmp_path / "i.json", {"Name": "a", "Title": "t", key: steps}))
    assert idea.model_dump() == {"Name": "a", "Title": "t", "Experiment": steps}


@pytest.mark.parametrize("score", [11, -1, "8/10", "high", ["8", "9"], {"value": 8}, float("nan"), None, True])
def test_a_score_refuses_no_idea_and_is_shown_as_it_is(tmp_path, score):
    path = write(tmp_path / "i.json", {**SPEC, "Novelty": score, "novel": "perhaps", "Abstract": ["a", "list"]})
    assert isinstance(idea_in_words(choose_idea(path)), str)
    if score == "8/10":
        assert "Scores of 10:\n- Novelty 8/10" in idea_in_words(choose_idea(path))


def test_a_list_needs_the_name_of_one_that_it_has(tmp_path):
    path = write(tmp_path / "i.json", [SPEC, {**SPEC, "Name": "b"}])
    assert "--idea NAME (may be repeated): a, b." in refusal(choose_idea, path, None)
    assert "no idea called c; it holds: a, b" in refusal(choose_idea, path, "c")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_contract_may_have_a_byte_order_mark_and_carriage_returns(tmp_path, encoding):
    (tmp_path / "experiment.py").write_text("")
    (tmp_path / "experiment.toml").write_bytes('[[metric]]\r\nname = "loß"\r\n'.encode(encoding))
    assert [metric.name for metric in load_contract(tmp_path).metric] == ["loß"]


@pytest.mark.parametrize("source", ["# coding: latin-1\nname = 'ä'\n", "name = 'ä'\n", "# coding: cp1252\nname = '€'\n"])
def test_a_source_that_agents_cannot_read_is_refused_with_a_command_that_mends_it(tmp_path, source):
    folder = tmp_path / "two words"
    folder.mkdir()
    path = folder / "experiment.py"
    path.write_bytes(source.encode("cp1252"))
    message = refusal(load_contract, folder)
    assert message.startswith(f"{path}: line {source.count(chr(10))}: not UTF-8 text")
    subprocess.run(message.split("`")[1], shell=True, check=True)
    load_contract(folder)
    assert path.read_text(encoding="utf-8") == source


# --- contracts -----------------------------------------------------------------------------------------------------------


def experiment(folder, toml):
    folder.mkdir(exist_ok=True)
    (folder / "experiment.py").write_text("")
    (folder / "experiment.toml").write_text(toml, encoding="utf-8")
    return folder


def test_the_shipped_contract_leaves_nothing_unjudged():
    contract = load_contract(ROOT)
    assert contract.not_judged == []
    assert contract.primary.name == "absorption"
    assert contract.editable == ["experiment.py"]
    assert {"absorption", "explained_variance", "l0"} <= {metric.name for metric in contract.metrics_of("synthetic")}


@pytest.mark.parametrize(
    ("name", "better", "target"),
    [
        ("absorption", "lower", 0.01),
        ("unlearning", "higher", 0.1),
        ("sparse_probing", "higher", 0.74),
        ("autointerp", "higher", None),
    ],
)
def test_the_shipped_contract_knows_what_is_good(name, better, target):
    metric = next(metric for metric in load_contract(ROOT).metric if metric.name == name)
    assert (metric.better, metric.target) == (better, target)


def test_units_of_limits_are_read(tmp_path):
    toml = '[limits]\ntime = "1.5h"\nsilence = "90s"\nmemory = "4GB"\noutput = 5\ndisk = "1.5KB"\nsmoke_time = "2m"'
    limits = load_contract(experiment(tmp_path, toml)).limits
    assert (limits.time, limits.silence, limits.memory, limits.output, limits.disk, limits.smoke_time) == (
        5400, 90, 4_000_000_000, 5, 1500, 120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("a =", "not TOML"),
        ("a = " + "[" * 10_000 + "]" * 10_000, "nested too deep"),
        ("wrong = 1", "wrong: unknown key. Known here: description, command"),
        ('[limits]\ntiem = "3m"', "limits.tiem: unknown key"),
        ('[limits]\ntime = "3 parsecs"', "limits.time: expected a number with a unit of s, m, h"),
        ("[limits]\ntime = 0", "limits.time"),
        ("[limits]\ntime = nan", "limits.time"),
        ("[limits]\ntime = inf", "limits.time"),
        ("[limits]\ntime = true", "limits.time"),
        ('[limits]\nmemory = "4m"', "limits.memory"),
        ("command = []", "command must hold {out_dir}"),
        ('command = ["{out_dir}"]', "command names no program"),
        ('editable = ["../x.py"]', "must be a path inside the experiment's folder"),
        ('editable = ["/x.py"]', "must be a path inside"),
        ('editable = ["."]', "must be a path inside"),
        ("editable = []", "editable names no file"),
        ("baseline_seeds = 3", "belongs into a profile: [profiles.NAME]"),
        ('files = ["~/data"]', "must be a path inside"),
        ('editable = ["other.py"]', "other.py: no such file"),
        ('files = ["data"]', "data: no such file"),
        ('auxiliary = ["../plot.py"]', "must be a path inside"),
        ('readable = ["experiment.txt"]', "readable: experiment.txt is not in files"),
        ('training_log = "../log"', "must be a path inside"),
        ('environment = ["OPENAI_API_KEY"]', "looks like a key"),
        ('environment = ["hf_token"]', "looks like a key"),
        ("seed = -1", "seed"),
        ('[[abort]]\nkey = "loss"\nsteps = 0', "abort.0.steps"),
        ('[[metric]]\nname = ""', "metric.0.name"),
        ('[[metric]]\nname = "a"\n[[metric]]\nname = "a"', "metric a is there twice"),
        ('[[metric]]\nname = "a"\nbetter = "up"', "metric.0.better"),
        ('[[metric]]\nname = "a"\nprimary = true', "does not say which way is better"),
        ('[[metric]]\nname = "a"\nminimum = 2\nmaximum = 1', "minimum 2.0 is above maximum 1.0"),
        ('[[metric]]\nname = "a"\ntarget = nan', "metric.0.target"),
        (
            '[[metric]]\nname="a"\nbetter="lower"\nprimary=true\n[[metric]]\nname="b"\nbetter="lower"\nprimary=true',
            "more than one metric is primary",
        ),
        ('[[sanity]]\nvalue = "a"', "a sanity rule needs one of"),
        ('[[sanity]]\nvalue = "a"\nabove = nan', "sanity.0.above"),
        ('[[sanity]]\nvalue = "a"\nabove = 0\ntimes = inf', "sanity.0.times"),
        ('default_profile = "x"', "default_profile x is not one of the profiles"),
        ('[profiles.x]\nmetrics = ["m"]', "profiles.x.metrics: m is not a metric of the contract"),
        ('[profiles.x]\nprimary = "m"', "profiles.x.primary: m is not a metric of the contract"),
        ("[profiles.x]\nguards = { m = 0.1 }", "profiles.x.guards: m is not a metric of the contract"),
        ('[[metric]]\nname = "m"\n[profiles.x]\nprimary = "m"', "profiles.x.primary: m does not say which way is better"),
        ('[[metric]]\nname = "m"\n[profiles.x]\nguards = { m = -1 }', "profiles.x.guards: expected numbers from 0 on"),
        ("[profiles.x.settings]\nk = [1]", "profiles.x.settings.k"),
        ("[profiles.x.settings]\nk = nan", "profiles.x.settings.k"),
    ],
)  # fmt: skip
def test_a_bad_contract_is_refused_with_file_and_key(tmp_path, toml, words):
    folder = experiment(tmp_path / "experiment ü", toml)
    message = refusal(load_contract, folder)
    assert message.startswith(str(folder))
    assert words in message


def test_a_contract_that_cannot_be_read_is_named(tmp_path):
    assert "no such folder" in refusal(load_contract, tmp_path / "missing")
    experiment(tmp_path, "").joinpath("experiment.toml").write_bytes(b"\xff")
    assert "not TOML" in refusal(load_contract, tmp_path)
    (tmp_path / "experiment.toml").unlink()
    (tmp_path / "experiment.toml").mkdir()
    assert "cannot be read" in refusal(load_contract, tmp_path)


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    contract = load_contract(experiment(tmp_path, "[profiles.x]\n[profiles.y]"))
    assert contract.profile(None)[0] == "x"
    assert "It has: x, y" in refusal(contract.profile, "z")


def test_a_folder_with_just_an_experiment_gets_the_default_contract(tmp_path):
    for name in ("experiment.py", "plot.py", "data.csv", ".vocab"):
        (tmp_path / name).write_text("")
    for name in ("run_0", "runs", "lib", "__pycache__"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("data.csv")
    contract = load_contract(tmp_path)
    assert contract == default_contract(tmp_path).model_copy(update={"files": [".vocab", "data.csv", "lib", "link"]})
    assert (contract.editable, contract.auxiliary) == (["experiment.py"], ["plot.py"])
    assert len(contract.not_judged) == 4
    assert contract.profile(None)[0] == ""


def test_campaigns_do_not_go_along_with_an_experiment(tmp_path):
    (tmp_path / "experiment.py").write_text("")
    (tmp_path / "data").mkdir()
    for campaign in ("results/one", "results/two", "older/one", "alone"):
        (tmp_path / campaign).mkdir(parents=True)
        (tmp_path / campaign / "campaign.json").write_text("{}")
    (tmp_path / "new").mkdir()
    assert load_contract(tmp_path, tmp_path / "new").files == ["data"]
    assert load_contract(tmp_path, tmp_path).files == ["data", "new"]
    inside = refusal(load_contract, tmp_path, tmp_path / "data" / "today")
    assert "--out" in inside and "lies in data" in inside


def test_campaigns_are_not_made_in_a_folder_that_the_contract_names(tmp_path):
    folder = experiment(tmp_path, 'files = ["lab"]')
    (folder / "lab").mkdir()
    assert load_contract(folder, folder / "runs").files == ["lab"]
    assert "lies in lab" in refusal(load_contract, folder, folder / "lab")


@pytest.mark.parametrize("name", ["experiment.py", "experiment.toml"])
def test_a_link_that_the_agent_would_edit_is_refused(tmp_path, name):
    folder = experiment(tmp_path, "")
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert f"{name}: a link" in refusal(load_contract, folder)


def test_a_folder_without_an_experiment_says_how_to_make_one(tmp_path):
    assert "harness init" in refusal(load_contract, tmp_path)


def test_a_file_without_permission_is_named_with_what_to_do(tmp_path):
    path = write(tmp_path / "i.json", SPEC)
    folder = experiment(tmp_path, "")
    for file in (path, folder / "experiment.toml"):
        file.chmod(stat.S_IWUSR)

    def refused():
        assert f"{path}: cannot be read: Permission denied. Name a file" in refusal(load_ideas, path)
        assert "experiment.toml: cannot be read: Permission denied. Make it" in refusal(load_contract, folder)

    unprivileged(refused)
