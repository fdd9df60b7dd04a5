"""Experiments that other people wrote go through whole campaigns as they are: small ones in the shapes of AI-Scientist's."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click import unstyle

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.contract import Contract
from harness.campaign.contract_file import load_contract
from harness.campaign.errors import CannotGoOn
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal
from harness.campaign.metric_names import how_to_name
from harness.campaign.open_campaign import OpenCampaign
from harness.campaign.protocols import NOT_EXITED, Silent
from harness.campaign.stop import Stop
from harness.cli.running import say_ending, take_on
from harness.continuation import go_on
from harness.execution import plots
from harness.execution.executions import Executions
from harness.execution.executors import find_executor
from harness.execution.measurements import Measurements
from harness.loop import Ending
from harness.report.campaign_data import read_campaign_data
from harness.report.conclusion import conclude
from harness.report.html.report import render
from harness.report.paper.writeup import compose
from harness.report.recorder import Recorder
from harness.report.terminal.outcome import try_facts, try_page
from harness.report.terminal.record_page import record as page
from harness.report.terminal.remedies import remedies
from harness.report.terminal.run_table import log
from harness.report.terminal.status import read_status
from harness.report.terminal.status_page import status
from harness.results.reading import read_results
from harness.results.run_results import read_run
from harness.results.sanity import check_sanity

Foreign = Callable[..., Campaign]

HEAD = """import argparse, json, os, random
p = argparse.ArgumentParser()
p.add_argument("--out_dir", type=str, default="run_0")
out = p.parse_args().out_dir
os.makedirs(out, exist_ok=True)
rate = 0.1
"""
WRITES = HEAD + "numbers = {{'d': {{'means': {{'loss': 1 - rate + 0.01234567}}}}}}\njson.dump(numbers, open({place}, 'w'))\n"


def edit(old: str, new: str) -> dict[str, Any]:
    return {"text": "HYPOTHESIS: the loss falls.", "edits": [["experiment.py", old, new]]}


FASTER = {"run 1, attempt 1": edit("rate = 0.1", "rate = 0.2")}


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def foreign(tmp_path: Path) -> Foreign:
    """Makes a campaign of an experiment of these files."""

    def make(files: Mapping[str, str], script: dict[str, Any] = FASTER, **options: Any) -> Campaign:
        folder = tmp_path / "theirs"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        session = tmp_path / "script.json"
        session.write_text(json.dumps(script))
        return create_campaign(
            tmp_path / "runs",
            Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
            folder,
            Options(agent="tests.scripted:ScriptedAgent", **{"max_runs": 1} | options),
            python=sys.executable,
            session=session,
        )

    return make


def run(campaign: Campaign) -> tuple[Ending, list[str]]:
    view = Listening()
    return go_on(campaign, view=view, stop=Stop()), view.said


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("'final_info.json'", "final_info.json: written outside --out_dir"),
        (
            "os.path.join(os.makedirs('mine') or 'mine', 'final_info.json')",
            "mine/final_info.json: written outside --out_dir",
        ),
        ("os.path.join(out, 'results.json')", ""),
    ],
)
def test_a_summary_that_was_left_one_folder_off_is_the_runs(foreign: Foreign, place: str, says: str) -> None:
    campaign = foreign({"experiment.py": WRITES.format(place=place), "final_info.json": '{"loss": 7}'})
    ending, _ = run(campaign)
    baseline, first = campaign.read_records()
    assert ending.reason == "runs_spent", ending.message
    assert (baseline.metrics["d.loss"].value, first.metrics["d.loss"].value) == (0.91234567, 0.81234567)
    assert any(says in text for text in baseline.warnings) or not says


def test_a_summary_of_the_experiments_folder_is_not_taken_for_a_runs(foreign: Foreign) -> None:
    campaign = foreign({"experiment.py": HEAD, "final_info.json": '{"loss": 7}'})
    ending, _ = run(campaign)
    assert ending.message.startswith(
        "the baseline left no result: it finished, but no number was read: final_info.json: missing: the experiment did "
        "not write it; final_info.json in --out_dir should hold"
    )


# In the shape of AI-Scientist's grokking: several data sets, each trained with seeds of the experiment's own.
OWN_SEEDS = HEAD + (
    "{reads}\n"
    "infos = {{}}\n"
    "for place, name in enumerate(['x_div_y', 'permutation']):\n"
    "    runs = []\n"
    "    for own in range(3):\n"
    "        noise = random.Random(f'{{name}}{{own}}{{seed}}').random()\n"
    "        runs.append({{'final_val_acc': 0.4 + rate + 0.01 * noise, 'step_val_acc_99': 4000 + own}})\n"
    "    lists = {{key: [each[key] for each in runs] for key in runs[0]}}\n"
    "    infos[name] = {{\n"
    "        'means': {{f'{{key}}_mean': sum(values) / 3 for key, values in lists.items()}},\n"
    "        'stderrs': {{f'{{key}}_stderr': (max(values) - min(values)) / 3 for key, values in lists.items()}},\n"
    "        'final_info_dict': lists,\n"
    "    }}\n"
    "json.dump(infos, open(os.path.join(out, 'final_info.json'), 'w'))\n"
)
IGNORES = OWN_SEEDS.format(reads="seed = 0")
READS = OWN_SEEDS.format(reads="seed = int(os.environ['HARNESS_SEED'])")
DECIDES = (
    'editable = ["experiment.py"]\nsmoke = false\n'
    '[[metric]]\nname = "acc"\nsources = ["*.final_val_acc_mean"]\nbetter = "higher"\nprimary = true\n'
    "[profiles.p]\nbaseline_seeds = 3\nrun_seeds = [1, 3]\nfinal_seeds = 0\n"
)
BETTER = {"run 1, attempt 1": edit("rate = 0.1", "rate = 0.2")}


def executions(campaign: Campaign) -> list[str]:
    events = (json.loads(line) for line in campaign.journal.read_text().splitlines())
    steps = (event["step"] for event in events if event["event"] == "done")
    return [step for step in steps if step.rpartition("/")[2].startswith(("execute", "seed", "control"))]


def test_the_seeds_of_an_experiment_that_reads_no_seed_are_its_own(foreign: Foreign) -> None:
    campaign = foreign({"experiment.py": IGNORES})
    run(campaign)
    baseline, first = campaign.read_records()
    metric = first.metrics["x_div_y.final_val_acc_mean"]
    assert (len(metric.values), metric.self_reported, first.seed_count, first.seeds) == (3, True, 3, [0])
    assert baseline.own_seeds == 3 and not baseline.ignores_seed
    assert {row.seeds for row in read_status(campaign).rows if row.attempt is None} == {3}
    notes = campaign.notes.read_text()
    assert "Seeds: 3 of the experiment's own (self-reported)" in notes
    text = str(compose(read_campaign_data(campaign), ""))
    assert "experiment.py --out_dir=run_i" in text and "experiment.py --out_dir=run_i" in notes
    assert "has one seed" not in text and "With one seed" not in text
    assert "are the experiment’s own: how many there were and what each gave is self-reported" in text


def test_the_experiments_own_seeds_are_judged_and_marked(foreign: Foreign) -> None:
    campaign = foreign({"experiment.py": IGNORES, "experiment.toml": DECIDES}, BETTER)
    ending, said = run(campaign)
    baseline, first = campaign.read_records()
    assert first.verdict.kind == "improved", ending.message + first.verdict.why
    assert "the seeds are the experiment's own, self-reported" in first.verdict.why
    assert first.verdict.against_baseline.seeds == first.verdict.against_baseline.reference_seeds == 3
    assert baseline.ignores_seed and any("HARNESS_SEED is not read" in text for text in said)
    assert executions(campaign) == ["run_0/execute", "run_0/seed_1", "run_1/attempt_1/execute"]
    assert not [text for text in said if "smallest improvement" in text or "no run can be called improved" in text]


def test_where_the_seed_is_read_a_list_is_one_value_a_seed(foreign: Foreign) -> None:
    campaign = foreign({"experiment.py": READS, "experiment.toml": DECIDES}, BETTER)
    run(campaign)
    baseline, first = campaign.read_records()
    metric = first.metrics["acc"]
    assert (len(metric.values), metric.self_reported, first.seeds, baseline.seeds) == (3, False, [0, 1, 2], [0, 1, 2])
    assert len(set(metric.values)) == 3 and not baseline.ignores_seed
    (warning,) = baseline.warnings
    assert "acc" in warning and "so the mean of them is one value, that of the harness's seed" in warning
    assert first.verdict.kind == "improved" and "self-reported" not in first.verdict.why


def test_a_seed_that_changes_nothing_is_found_in_the_baseline_and_costs_no_further_execution(
    foreign: Foreign, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = DECIDES.replace("acc", "loss").replace("*.final_val_loss_mean", "d.loss").replace("higher", "lower")
    timed = WRITES.format(place="out + '/final_info.json'").replace("'loss':", "'train_time': random.random(), 'loss':")
    campaign = foreign({"experiment.py": timed, "experiment.toml": toml})
    ending, said = run(campaign)
    baseline, first = campaign.read_records()
    assert ending.reason == "runs_spent", ending.message
    assert baseline.ignores_seed and first.metrics["loss"].value < baseline.metrics["loss"].value
    assert executions(campaign) == ["run_0/execute", "run_0/seed_1", "run_1/attempt_1/execute"] and first.seeds == [0]
    (sentence,) = [text for text in said if "HARNESS_SEED" in text]
    assert sentence in baseline.warnings and sentence.startswith("the 2 seeds of the baseline gave the same numbers")
    assert "HARNESS_SEED is not read" in sentence
    assert not any("smallest improvement" in text for text in said)
    hung = first.model_copy(
        update={"warnings": [f"{NOT_EXITED}: results complete, then nothing for 60 s, so it was ended."]}
    )
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    opened.write_record(hung)
    say_ending(campaign, "", 1000)
    pages = capsys.readouterr().out, log(read_status(campaign), 1000), conclude(campaign.contract, [baseline, hung], "")
    for text in pages:
        assert "No run could be judged: HARNESS_SEED changes nothing" in text and "int(os.environ" in text
        assert "did not exit after its results (run 1): each execution waited 60 s" in text and "os._exit(0)" in text
    opened.write_record(first)
    with pytest.raises(CannotGoOn, match="HARNESS_SEED changes nothing"):
        raise CannotGoOn(go_on(campaign, view=Silent(), stop=Stop(), confirm=(1, 5)).message)


def test_one_seed_each_is_told_with_what_to_do_where_that_is_why_runs_are_inconclusive() -> None:
    baseline = {
        "run": 0,
        "given": False,
        "metrics": {"loss": {"values": [1.0]}},
        "verdict": {"kind": "baseline"},
        "warnings": [],
    }
    run = baseline | {"run": 1, "verdict": {"kind": "inconclusive", "against_baseline": {"low": None}}}
    (said,) = remedies([baseline, run], "loss")
    assert said.startswith("No run could be judged: one seed each") and "run_seeds = [1, 3] (below [profiles.NAME])" in said
    for other in (run | {"verdict": {"kind": "invalid"}}, run | {"verdict": {"kind": "failed"}, "metrics": {}}):
        assert remedies([baseline, other], "loss") == []
    assert remedies([baseline, run], None) == remedies([baseline | {"given": True}, run], "loss") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jl", 'seed = parse(Int, ENV["HARNESS_SEED"])'),
        ("conf/main.yaml", "seed: ${oc.env:HARNESS_SEED}"),
        ("experiment.toml", 'command = ["sh", "-c", "python experiment.py --out_dir={out_dir} --seed=$HARNESS_SEED"]'),
        ("experiment.toml", "# HARNESS_SEED is told to it"),
        ("data/README.md", "# HARNESS_SEED is told to it"),
    ],
)
def test_a_file_in_any_language_and_the_command_may_read_the_seed(foreign: Foreign, name: str, content: str) -> None:
    campaign = foreign({"experiment.py": HEAD, name: content})
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    Recorder(opened, Executions(opened, find_executor("local"))).start()
    assert Measurements(opened).names_seed == (not content.startswith("#"))


def test_a_standard_error_without_a_number_of_seeds_is_shown_and_never_used(foreign: Foreign) -> None:
    source = HEAD + (
        "d = {'means': {'loss': 1 - rate + 0.01234567}, 'stderrs': {'loss_stderr': 0.25}}\n"
        "json.dump({'d': d}, open(os.path.join(out, 'final_info.json'), 'w'))\n"
    )
    campaign = foreign({"experiment.py": source})
    run(campaign)
    metric = campaign.read_records()[1].metrics["d.loss"]
    assert (metric.values, metric.reported_error, metric.self_reported) == ([0.81234567], 0.25, False)
    first, baseline = campaign.record(1), campaign.record(0)
    assert "d.loss ± 0.25" in unstyle(page(first, baseline, campaign.facts()["contract"], 100))
    assert campaign.notes.read_text().count("d.loss ± 0.25") == 2
    assert render([read_campaign_data(campaign)]).count("nothing is judged by them: d.loss ± 0.25.") == 2


BROKEN = {
    "'training_steps': 0": "training_steps is 0: nothing was trained",
    "'l0': 0.0": "l0 is 0: no latent is ever active",
    "'val_loss': None": "val_loss: null, not a number",
    "'val_loss': float('nan')": "val_loss: NaN, not a number",
    "'val_loss': float('inf')": "val_loss: infinite, not a number",
}


@pytest.mark.parametrize("number", BROKEN)
def test_what_is_no_evidence_under_any_contract_is_invalid_without_one(tmp_path: Path, number: str) -> None:
    path = tmp_path / "final_info.json"
    path.write_text(json.dumps({"d": {"means": {"acc": 0.5} | eval(f"{{{number}}}")}}))
    (why,) = check_sanity(Contract(), "", read_results(tmp_path))
    assert BROKEN[number] in why
    path.write_text(json.dumps({"d": {"means": {"acc": 0.0, "epochs_to_99": None, "l0_ratio": 0, "step_time": 0}}}))
    assert check_sanity(Contract(), "", read_results(tmp_path)) == []


def test_without_a_contract_the_numbers_are_shown_everywhere_and_how_to_name_one_that_decides(
    foreign: Foreign, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = "'train_time': 3.5, 'val_loss': 1 - rate + 0.01234567, **dict.fromkeys('abcde', rate)"
    campaign = foreign(
        {"experiment.py": WRITES.format(place="out + '/final_info.json'").replace("'loss': 1 - rate + 0.01234567", numbers)}
    )
    assert take_on(campaign, Stop(), 120) == 0
    printed = unstyle(capsys.readouterr().out)
    name = 'metric = [{ name = "d.val_loss", better = "lower", primary = true }]'
    assert "run 1: completed, inconclusive; d.val_loss 0.8123 (baseline 0.9123), d.a 0.2 (baseline 0.1)" in printed
    data = read_campaign_data(campaign)
    shown = {
        "end of run": printed[printed.index("All runs are spent") :],
        "log": unstyle(log(read_status(campaign), 120)),
        "try": unstyle(try_page(try_facts(campaign, "", 0), campaign, 120)),
        "notes": campaign.notes.read_text(),
        "paper": str(compose(data, "").sections),
        "report": re.sub("<[^>]*>", "", html.unescape(render([data]))),
    }
    for place, text in shown.items():
        flat = " ".join(text.split())
        assert "0.8123" in flat and "0.9123" in flat and "contract names" not in flat, place
        assert name in (text if place in ("end of run", "log", "try") else flat) or place == "paper", place
    assert "No run can be called better: no primary metric is named." in str(compose(data, ""))
    contract = Contract.model_validate(tomllib.loads(name))
    assert contract.primary is not None and contract.primary.better == "lower"
    assert '"d.val_loss", better = "lower"' in how_to_name(["d.train_loss", "d.val_loss"])  # never one of training


PLOT = """import json, os
import matplotlib.pyplot as plt
folders = sorted(name for name in os.listdir(".") if name.startswith("run") and os.path.isdir(name))
losses = [json.load(open(os.path.join(name, "final_info.json")))["d"]["means"]["loss"] for name in folders]
plt.plot(losses)
plt.savefig(f"losses_of_{len(folders)}.png")
"""


def test_metrics_whose_names_end_alike_are_told_apart(foreign: Foreign) -> None:
    numbers = "{'a_first_data_set.final_validation_accuracy': 1 - rate, 'another_data_set.final_validation_accuracy': rate, 'l': 1}"
    campaign = foreign({"experiment.py": HEAD + f"json.dump({numbers}, open(out + '/final_info.json', 'w'))\n"})
    run(campaign)
    head = log(read_status(campaign), 200).splitlines()[0].split()
    assert head[2:5] == ["…first_data_set.final_validation_accuracy", "another_data_set.final_validation_accuracy", "l"]


def test_plot_py_is_run_after_each_completed_run_and_its_pictures_go_to_report_and_paper(foreign: Foreign) -> None:
    campaign = foreign({"experiment.py": WRITES.format(place="out + '/final_info.json'"), "plot.py": PLOT})
    ending, said = run(campaign)
    assert ending.reason == "runs_spent", ending.message
    for number, name in enumerate(("losses_of_1.png", "losses_of_2.png")):
        assert [path.name for path in (campaign.run_folder(number) / "plotted").iterdir()] == [name], said
    data = read_campaign_data(campaign)
    assert "losses_of_2.png, drawn by plot.py" in str(compose(data, "").sections)
    shown = render([data])
    assert "losses_of_2.png" in shown and 'href="data:image/png;base64,' in shown


@pytest.mark.parametrize(
    "code", ["raise SystemExit('no data')", "import time\ntime.sleep(1000)", "pass", "open('a.png', 'w').write('no')"]
)
def test_a_plot_py_that_fails_costs_nothing(foreign: Foreign, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "TIME", 2.0)
    campaign = foreign({"experiment.py": WRITES.format(place="out + '/final_info.json'"), "plot.py": code})
    ending, said = run(campaign)
    assert ending.reason == "runs_spent", ending.message
    assert [record.status for record in campaign.read_records()] == ["completed", "completed"]
    assert sum(text.startswith("plot.py drew nothing: ") for text in said) == 2
    assert not list(campaign.root.glob("run_*/plotted/*"))
    assert not [text for text in run(campaign)[1] if "plot.py" in text]  # of runs that are done


def test_a_plot_py_that_fails_after_a_picture_is_not_said_to_have_drawn_nothing(foreign: Foreign) -> None:
    code = "open('a.png', 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n')\nopen('b.png', 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n')\nraise SystemExit('no')"
    campaign = foreign({"experiment.py": WRITES.format(place="out + '/final_info.json'"), "plot.py": code})
    _, said = run(campaign)
    assert sum(text.startswith("plot.py failed after 2 pictures: exit code 1: no") for text in said) == 2
    assert len(list(campaign.root.glob("run_1/plotted/*.png"))) == 2


def test_pictures_of_other_formats_are_shown_or_it_is_said_which_are(foreign: Foreign) -> None:
    code = (
        "import os\nfrom PIL import Image\n"
        "if os.path.isdir('run_1'):\n    Image.new('RGB', (4, 3), 'red').save('curve.JPG', 'JPEG')\n"
        "else:\n    open('curve.svg', 'w').write('<svg/>')\n    open('b.pdf', 'w').write('%PDF')\n"
    )
    campaign = foreign({"experiment.py": WRITES.format(place="out + '/final_info.json'"), "plot.py": code})
    _, said = run(campaign)
    assert [text for text in said if "plot.py" in text] == [
        "plot.py drew nothing: it left no PNG or JPEG file, which are what report and paper show: save b.pdf, curve.svg as PNG"
    ]
    assert "curve.JPG, drawn by plot.py" in render([read_campaign_data(campaign)])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_task_description_of_prompt_json_reaches_the_agent(foreign: Foreign, encoding: str) -> None:
    campaign = foreign({"experiment.py": WRITES.format(place="out + '/final_info.json'")}, {})
    folder = campaign.root.parents[1] / "theirs"
    (folder / "prompt.json").write_text(json.dumps({"task_description": "Diffusion on räumliche data."}), encoding=encoding)
    assert load_contract(folder).description == "Diffusion on räumliche data."
    (folder / "prompt.json").write_text(json.dumps({"system": "You are.", "task_description": 3}))
    assert load_contract(folder).description == ""


def test_a_baseline_that_crashes_is_told_once_and_in_a_line_of_status(foreign: Foreign) -> None:
    ending, said = run(campaign := foreign({"experiment.py": "raise ValueError('no data here')"}))
    assert ending.message.splitlines()[0].startswith("the baseline crashed: exit code 1: ValueError: no data here")
    assert not [line for line in said if "no data here" in line]
    page = unstyle(status(read_status(campaign), "small", 300))
    assert "no data here" in page and "Traceback" not in page


# --- whole templates, doctor and run ---------------------------------------------------------------------------------------

# As AI-Scientist's 2d_diffusion: four data sets with means alone, a pickle of everything, a module beside it.
DIFFUSION = HEAD + (
    "import pickle, random, time\n"
    "from datasets_2d import points\n"
    "infos, everything = {}, {}\n"
    "for name in ['circle', 'dino', 'line', 'moons']:\n"
    "    begun, cloud = time.time(), points(name)\n"
    "    kl = sum(x * x + y * y for x, y in cloud) / len(cloud) * (1 - rate)\n"
    "    infos[name] = {'means': {'training_time': time.time() - begun, 'eval_loss': kl / 3, 'kl_divergence': kl}}\n"
    "    everything[name] = {'train_losses': [kl, kl / 2], 'images': cloud}\n"
    "json.dump(infos, open(os.path.join(out, 'final_info.json'), 'w'))\n"
    "pickle.dump(everything, open(os.path.join(out, 'all_results.pkl'), 'wb'))\n"
)
POINTS = (
    "import random\n"
    "def points(name):\n"
    "    chance = random.Random(name)\n"
    "    return [(chance.gauss(0, 1), chance.gauss(0, 1)) for _ in range(50)]\n"
)
# As nanoGPT_lite: its data lie two folders up, one data set, seeds of its own, lists and an odd JSON beside the results.
GPT = HEAD + (
    "text = open('../../data/shakespeare_char/input.txt').read()\n"
    "runs = []\n"
    "for own in range(2):\n"
    "    loss = 1.5 - rate + len(set(text)) / 100 + own / 1000\n"
    "    runs.append({'final_train_loss': loss, 'best_val_loss': loss + 0.1234567, 'total_train_time': 1.0 + own})\n"
    "    json.dump([{'iter': 0, 'loss': loss}], open(os.path.join(out, f'shakespeare_char_{own}.json'), 'w'))\n"
    "lists = {key: [each[key] for each in runs] for key in runs[0]}\n"
    "means = {f'{key}_mean': sum(values) / 2 for key, values in lists.items()}\n"
    "errors = {f'{key}_stderr': (values[1] - values[0]) / 2 for key, values in lists.items()}\n"
    "infos = {'shakespeare_char': {'means': means, 'stderrs': errors, 'final_info_dict': lists}}\n"
    "json.dump(infos, open(os.path.join(out, 'final_info.json'), 'w'))\n"
)
V1_IDEA = {"Name": "adaptive", "Title": "Adaptive rates", "Experiment": "Raise the rate.", "Novelty": "8/10", "novel": True}
V2_IDEA = {
    "Name": "adaptive",
    "Title": "Adaptive rates",
    "Short Hypothesis": "A larger rate lowers the loss.",
    "Related Work": "Many.",
    "Experiments": [{"Step": "Raise the rate.", "Metrics": ["loss"]}, "Compare."],
    "Risk Factors and Limitations": ["None."],
}
PROMPT = {"system": "You are ambitious.", "task_description": "You are given a small experiment to improve."}
TEMPLATES: dict[str, tuple[dict[str, str], str]] = {
    "grokking": ({"experiment.py": IGNORES}, "x_div_y.final_val_acc_mean"),
    "2d_diffusion": (
        {
            "experiment.py": DIFFUSION,
            "datasets_2d.py": POINTS,
            "plot.py": PLOT.replace('["d"]["means"]["loss"]', '["dino"]["means"]["eval_loss"]'),
        },
        "moons.kl_divergence",
    ),
    "nanoGPT_lite": ({"experiment.py": GPT}, "shakespeare_char.best_val_loss_mean"),
}


def baseline_name(name: str) -> str:
    """The data set that is named first."""
    return {"grokking": "x_div_y", "2d_diffusion": "circle", "nanoGPT_lite": "shakespeare_char"}[name]


@pytest.mark.parametrize(
    ("name", "ideas"),
    [
        pytest.param(
            "grokking",
            [V1_IDEA, {**V1_IDEA, "Name": "b"}, {**V1_IDEA, "Name": "b", "Title": "Other"}],
            marks=pytest.mark.slow,
        ),
        pytest.param("2d_diffusion", [V2_IDEA, {}], marks=pytest.mark.slow),
        ("nanoGPT_lite", [V1_IDEA, "no idea"]),
    ],
)
def test_a_template_goes_through_doctor_and_run_as_it_is(tmp_path: Path, name: str, ideas: list[Any]) -> None:
    files, metric = TEMPLATES[name]
    folder = tmp_path / "scientist" / "templates" / name
    data = tmp_path / "scientist" / "data" / "shakespeare_char" / "input.txt"
    others = {"prompt.json": json.dumps(PROMPT), "seed_ideas.json": json.dumps(ideas)}
    for path, content in {**{folder / key: text for key, text in (files | others).items()}, data: "to be or not"}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    script = tmp_path / "script.json"
    script.write_text(json.dumps(FASTER))

    def harness(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("harness")), *arguments]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    checks = harness("doctor")
    assert "fail" not in checks.lower().split(), checks
    options = ["--agent", "tests.scripted:ScriptedAgent", "--session", str(script), "--out", str(tmp_path / "runs")]
    printed = harness("run", "seed_ideas.json", "--idea", "adaptive", "--max-runs", "1", *options)
    campaign = Campaign(tmp_path / "runs" / "adaptive")
    baseline, first = campaign.read_records()
    if name == "nanoGPT_lite":
        page = (Path(__file__).parents[1] / "docs" / "ai-scientist.md").read_text()
        lines = Contract.model_validate(tomllib.loads(page.split("```toml\n")[1].split("```")[0]))
        assert check_sanity(lines, "", read_run(campaign.run_folder(0), lines)) == [] and metric in page
    assert first.status == "completed" and first.metrics[metric].value != baseline.metrics[metric].value, printed
    assert "small experiment to improve" in (campaign.attempt_folder(1, 1) / "brief.md").read_text()
    assert first.seed_count == {"grokking": 3, "2d_diffusion": 1, "nanoGPT_lite": 2}[name]
    assert f'\n  metric = [{{ name = "{baseline_name(name)}.' in printed
