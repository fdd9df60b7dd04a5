"""SAEBench itself on a small language model: what its traps would make of a score does not happen."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import string
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from saelab import evals, memory, plan, text, tiny_lm
from saelab.errors import CannotPrepare
from saelab.evals import EVALS, absorption, core, probing
from saelab.evals.bench import SEED, Skip, at_work, bench_of
from saelab.evals.negligible import Sizes
from saelab.evals.result import take
from saelab.settings import Settings, SettingsError, load_settings

REPOSITORY = Path(__file__).parents[1]

WIDTH, LATENTS, K = 32, 96, 8
RECIPE = tiny_lm.Recipe(
    vocabulary=520, width=WIDTH, layers=2, heads=2, steps=150, text_rows=1, spelling_rows=8, context=64, lr=2e-2
)
PROBED = "119_us_state_TX"


def words() -> list[str]:
    return [letter + end for letter in string.ascii_lowercase for end in ("a", "e", "i", "o", "u", "ab", "eb")]


def sentences(n: int) -> list[str]:
    chance = random.Random(5)
    return [" ".join(chance.choices(words(), k=60)) + "." for _ in range(n)]


class TopK:
    """An SAE with random directions, counted by how often it is asked."""

    def __init__(self, seed: int, *, encoder: bool = True) -> None:
        chance = torch.Generator().manual_seed(seed)
        self.d_in, self.d_sae = WIDTH, LATENTS
        directions = torch.randn(LATENTS, WIDTH, generator=chance)
        self.W_dec = directions / directions.norm(dim=1, keepdim=True)
        self.b_dec = torch.zeros(WIDTH)
        self.W_enc = self.W_dec.T.clone() if encoder else None
        self.b_enc = torch.zeros(LATENTS) if encoder else None

    def encode(self, x: Tensor) -> Tensor:
        before = torch.relu(x @ self.W_dec.T.to(x.dtype))
        values, indices = before.topk(K, dim=-1)
        return torch.zeros_like(before).scatter(-1, indices, values)

    def decode(self, f: Tensor) -> Tensor:
        return f @ self.W_dec.to(f.dtype)


class Lab:
    """A laboratory's cache with a small language model, and what was scored in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache = root, root / "evals"
        self.said: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tiny_lm.text, "documents", lambda dataset, split: iter(sentences(100)))
            self.model = tiny_lm.ensure(root, self.said.append, RECIPE)
        self.text = root / "texts"
        self.text.mkdir()
        (self.text / "texts.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in sentences(600)))

    def settings(self, names: str, **changes: object) -> Settings:
        asked = self.overrides(names, **changes)
        return load_settings(REPOSITORY, {"HARNESS_PROFILE": "tiny-lm", "HARNESS_OVERRIDES": asked})

    def overrides(self, names: str, **changes: object) -> str:
        """What makes the profile tiny-lm smaller."""
        values = {
            "dict_size": LATENTS,
            "k": K,
            "d_in": WIDTH,
            "model": str(self.model),
            "layer": 0,
            "context": 32,
            "dataset": str(self.text),
            "eval_dataset": str(self.text),
            "eval_tokens": 2048,
            "evals": names,
            "absorption_letters": 10,
            "absorption_latents": 2,
            "probing_datasets": PROBED,
            "probing_rows": 40,
            "autointerp_latents": 4,
        }
        return json.dumps(values | changes)

    def score(self, sae: object, names: str, out: Path, **changes: object) -> dict[str, str]:
        out.mkdir(exist_ok=True)
        return evals.evaluate(sae, self.settings(names, **changes), out, self.cache, self.said.append)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_LAB_CACHE", str(root))
        import datasets

        (root / "datasets-cache").mkdir()  # as whoever has ever used the library has it
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "datasets-cache")
        yield Lab(root)


CHEAP = "core absorption sparse_probing_sae_probes"


@pytest.fixture(scope="module")
def installed() -> set[Path]:
    import sae_bench

    return files(Path(sae_bench.__file__).parent)


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__"}


@pytest.fixture(scope="module")
def first(lab, installed, tmp_path_factory) -> Path:
    """Scores of one SAE in an empty cache."""
    out = tmp_path_factory.mktemp("first")
    assert lab.score(TopK(0), CHEAP, out) == {}
    return out


def result(out: Path, name: str) -> dict:
    found = json.loads((out / f"{name}.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} in {name}.json"))
    assert isinstance(found, dict)
    return found


def metrics(out: Path, names: str = CHEAP) -> dict[str, dict]:
    return {name: result(out, name)["eval_result_metrics"] for name in names.split()}


def test_results_have_the_shape_of_saebench(first):
    core, absorbed, probed = (result(first, name) for name in CHEAP.split())

    assert [each["eval_type_id"] for each in (core, absorbed, probed)] == [
        "core",
        "absorption_first_letter",
        "sparse_probing_sae_probes",
    ]
    assert core["eval_result_metrics"]["sparsity"]["l0"] == pytest.approx(K, abs=0.5)
    assert core["sae_cfg_dict"]["hook_name"] == "blocks.0.hook_resid_post"
    assert 0 <= absorbed["eval_result_metrics"]["mean"]["mean_full_absorption_score"] <= 1
    assert len(absorbed["eval_result_details"]) >= 10
    assert absorbed["eval_config"]["max_k_value"] == 2
    assert [each["dataset_name"] for each in probed["eval_result_details"]] == [PROBED]
    assert 0 < probed["eval_result_metrics"]["llm"]["llm_test_accuracy"] <= 1
    assert not [name for name, value in probed["eval_config"].items() if str(value).startswith("/")]


def test_a_model_to_which_the_layer_does_nothing_is_said(lab, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(lab.model, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    weights |= {
        name: torch.zeros_like(weight) for name, weight in weights.items() if "embed_out" in name or "lm_head" in name
    }
    save_file(weights, file, metadata={"format": "pt"})
    skipped = lab.score(TopK(0), "core", tmp_path / "scores", model=str(tmp_path / "model"))
    assert "the language model predicts the same with this layer's output as with zeros in its place" in skipped["core"]
    assert "division" not in skipped["core"]


def test_the_same_sae_gets_the_same_scores_whoever_was_scored_before(lab, first, tmp_path):
    assert lab.score(TopK(1), CHEAP, tmp_path / "other") == {}
    assert lab.score(TopK(0), CHEAP, tmp_path / "again") == {}

    assert metrics(tmp_path / "again") == metrics(first)
    other = metrics(tmp_path / "other")
    assert all(other[name] != metrics(first)[name] for name in CHEAP.split())


class Padded(TopK):
    """Latents that are silent, and those that always are, get a code that does nothing."""

    def encode(self, x: Tensor) -> Tensor:
        codes = super().encode(x)
        return torch.where(codes > 0, codes, 1e-5)


def test_codes_that_do_nothing_are_counted_and_absorption_is_scored_without_them_too(lab, first, tmp_path):
    assert lab.score(Padded(0), "core absorption", tmp_path) == {}

    honest, padded = (metrics(folder, "core absorption") for folder in (first, tmp_path))
    absorbed = [each["absorption"]["mean"]["mean_full_absorption_score"] for each in (honest, padded)]
    assert padded["core"]["sparsity"]["l0"] == pytest.approx(LATENTS, abs=1)
    assert padded["core"]["negligible_codes"]["negligible_share"] > 0.9
    assert absorbed[0] > 0.01 and absorbed[1] < 0.001
    assert padded["absorption"]["negligible_codes"]["bought_by_negligible_codes"] > 0.9 * absorbed[0]

    assert honest["core"]["negligible_codes"]["negligible_share"] < 0.01
    assert honest["absorption"]["negligible_codes"] == {"bought_by_negligible_codes": 0.0}


@pytest.mark.parametrize(("code", "share"), [(0.02, 0), (0.005, 0.9), (1e-6, 0.9)])
def test_a_code_is_negligible_below_a_hundredth_of_what_its_latent_does(code, share):
    """A ReLU has codes of all sizes, and SAEBench asks of single words whether a latent fires."""
    sizes = Sizes(torch.eye(4))
    codes = torch.full((10, 4), code)
    codes[:1] = 1.0
    sizes.add(codes, codes)
    assert sizes.share == pytest.approx(share)
    assert (codes[1:] < sizes.least).all() == (share > 0)


COLD = """\
import sys, random
from pathlib import Path
from saelab import evals
from saelab.settings import load_settings
from tests.test_saebench import REPOSITORY, TopK


class Draws:
    main = ()
    fixed_by = evals.EVALS["absorption"].fixed_by

    def run(self, bench, sae, fixed, out):
        from sae_bench.evals.absorption import main
        import numpy, torch
        print([random.random(), numpy.random.random(), torch.rand(1).item()], file=sys.__stdout__)


assert not any(name.startswith("sae_bench") for name in sys.modules)
evals.EVALS["absorption"] = Draws()
settings = load_settings(REPOSITORY, {"HARNESS_PROFILE": "tiny-lm", "HARNESS_OVERRIDES": sys.argv[1]})
evals.evaluate(TopK(0), settings, Path(sys.argv[2]), Path(sys.argv[3]), lambda line: None)
"""


@pytest.mark.slow
def test_what_an_eval_draws_does_not_depend_on_what_was_imported_before_it(lab, first, tmp_path):
    """Some of what SAEBench imports draws numbers while it is imported: between seed and eval it would change the score."""
    command = [sys.executable, "-c", COLD, lab.overrides("absorption"), str(tmp_path), str(lab.cache)]
    environment = os.environ | {"HARNESS_LAB_CACHE": str(lab.root)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)

    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    assert json.loads(done.stdout) == [random.random(), np.random.random(), torch.rand(1).item()], done.stderr


def test_nothing_is_written_into_the_installed_package(first, installed):
    import sae_bench

    assert files(Path(sae_bench.__file__).parent) == installed


def test_what_is_made_once_is_kept_by_model_layer_and_sizes(lab, first, tmp_path):
    here = lab.settings(CHEAP)
    deeper = lab.settings(CHEAP, layer=1)
    retrained = lab.settings(CHEAP, model=str(tmp_path / "model"))
    (tmp_path / "model").mkdir()
    for file in lab.model.iterdir():
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "model" / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        weights.write(b"\1")

    for name in CHEAP.split():
        place = evals._place(name, here, lab.cache)
        assert place.is_dir()
        assert not evals._place(name, retrained, lab.cache).exists()
        assert not evals._place(name, deeper, lab.cache).exists()
    assert not evals._place("core", lab.settings(CHEAP, eval_tokens=1024), lab.cache).exists()
    assert evals._place("absorption", lab.settings(CHEAP, eval_tokens=1024), lab.cache).exists()


def test_codes_of_all_words_are_kept_where_there_is_memory_for_them(lab, first, monkeypatch):
    settings = lab.settings(CHEAP)
    words = absorption._trained_on(evals._place("absorption", settings, lab.cache))
    assert words > 100
    counted, is_counted = plan._words(settings, None)  # what a forecast counts: those that probes are trained on, and tested
    assert is_counted and words < counted < 1.5 * words
    twice = 2 * words * settings.dict_size * 4  # its parts, and what they are put together to
    for available, kept in ((2 * twice, True), (2 * twice - 1, False), (None, False)):
        monkeypatch.setattr(absorption, "room", lambda available=available: available)
        assert absorption.codes_fit(words, settings.dict_size, "float32") is kept
        assert (absorption.encodings(settings, words) == 2) is kept


def test_memory_that_a_scorer_may_not_use_is_no_room_for_codes(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10**15)
    assert memory.room() == 10**15
    monkeypatch.setenv(memory.LIMIT, str(10**14))
    assert 0 < memory.room() < 10**14  # without what this process has already
    monkeypatch.setenv(memory.LIMIT, "1")
    assert memory.room() == 0


@pytest.mark.slow
def test_absorption_scores_the_same_whether_codes_are_kept_or_made_again(lab, first, tmp_path, monkeypatch):
    asked = []
    encode = TopK.encode
    monkeypatch.setattr(TopK, "encode", lambda sae, x: asked.append(len(x)) or encode(sae, x))
    monkeypatch.setattr(absorption, "room", lambda: None)
    assert lab.score(TopK(0), "absorption", tmp_path / "again") == {}

    words = absorption._trained_on(evals._place("absorption", lab.settings(CHEAP), lab.cache))
    assert sum(asked) > absorption.EPOCHS * words  # so they were made again and again
    kept, again = (metrics(folder, "absorption")["absorption"]["mean"] for folder in (first, tmp_path / "again"))
    assert again == pytest.approx(kept, abs=1e-4)


def test_a_cache_that_was_left_half_made_is_made_again(lab, first, tmp_path):
    place = evals._place("core", lab.settings("core", eval_tokens=1024), lab.cache)
    beside = place.with_name(place.name + ".new")
    beside.mkdir()
    (beside / "train.jsonl").write_text("{")

    assert lab.score(TopK(0), "core", tmp_path, eval_tokens=1024) == {}
    assert place.is_dir()
    assert not beside.exists()


def test_scoring_writes_nothing_where_datasets_has_its_cache(lab, first):
    """Nor can it: that folder is there, and a scorer's sandbox lets nothing be written to it."""
    assert list((lab.root / "datasets-cache").iterdir()) == []


@pytest.mark.parametrize(
    ("context", "vocabulary", "prompts"), [(128, 50_304, 16), (64, 262_144, 8), (128, 256_000, 4), (8192, 262_144, 1)]
)
def test_as_many_prompts_are_a_batch_as_their_logits_have_room(context, vocabulary, prompts):
    assert core.prompts_at_once(context, vocabulary) == prompts


def test_evaluation_text_is_text_that_no_sae_is_trained_on(lab, first):
    place = evals._place("core", lab.settings("core"), lab.cache)
    laid_by = [json.loads(line)["text"] for line in (place / "train.jsonl").read_text().splitlines()]
    trained_on = set(text.documents(str(lab.text), "train"))

    assert len(laid_by) > 50
    assert trained_on.isdisjoint(laid_by)


class Broken(TopK):
    def encode(self, x: Tensor) -> Tensor:
        raise RuntimeError("this SAE is broken")


def test_an_error_that_saebench_swallows_is_a_reason_and_an_older_result_is_gone(lab, first, tmp_path):
    (tmp_path / "core.json").write_text((first / "core.json").read_text())

    skipped = lab.score(Broken(0), "core", tmp_path)

    assert "this SAE is broken" in skipped["core"]
    assert "SAEBench wrote no results" in skipped["core"]
    assert not (tmp_path / "core.json").exists()


def test_one_eval_that_fails_costs_no_other(lab, first, tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "SEED", "no number")

    skipped = lab.score(TopK(0), "sparse_probing_sae_probes core", tmp_path)

    assert list(skipped) == ["sparse_probing_sae_probes"]
    assert metrics(tmp_path, "core") == metrics(first, "core")


def test_a_model_that_does_not_know_its_letters_gets_no_absorption_score(lab, first, tmp_path, monkeypatch):
    monkeypatch.setattr(absorption, "F1", 1.0)

    skipped = lab.score(TopK(0), "absorption", tmp_path, absorption_latents=1)

    assert "probes find 0 of 26 first letters" in skipped["absorption"]
    assert not (tmp_path / "absorption.json").exists()


def test_without_encoder_weights_only_what_rests_on_them_is_missing(lab, first, tmp_path):
    assert lab.score(TopK(0, encoder=False), "core", tmp_path) == {}

    without, with_them = metrics(tmp_path, "core")["core"], metrics(first, "core")["core"]
    assert without["misc_metrics"].pop("average_max_encoder_cosine_sim") is None
    assert with_them["misc_metrics"].pop("average_max_encoder_cosine_sim") > 0
    assert without == with_them


PROFESSIONS = (0, 1, 2, 6, 9, 11, 13, 21, 22, 25, 26)


@pytest.fixture(scope="module")
def biographies(lab) -> None:
    """A copy of a data set of the hub in the laboratory's cache: each profession and gender has words of its own."""
    folder = lab.root / "datasets" / "LabHC" / "bias_in_bios"
    folder.mkdir(parents=True)
    chance, known = random.Random(1), words()
    for split in ("train", "test"):
        lines = [
            json.dumps(
                {
                    "hard_text": " ".join(
                        chance.choices(known[7 * job : 7 * job + 12] + known[-10 * gender - 10 :][:10], k=20)
                    ),
                    "profession": job,
                    "gender": gender,
                }
            )
            for job in PROFESSIONS
            for gender in (0, 1)
            for _ in range(30)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_evals_on_texts_of_the_hub_take_local_copies_and_any_order(lab, biographies, tmp_path, monkeypatch):
    one = ("LabHC/bias_in_bios_class_set1",)
    monkeypatch.setattr(probing, "TEXTS", one)
    monkeypatch.setattr(probing, "PAIRED_TEXTS", one)

    assert lab.score(TopK(0), "scr tpp sparse_probing", tmp_path / "one") == {}
    assert lab.score(TopK(0), "sparse_probing tpp", tmp_path / "two") == {}

    found = metrics(tmp_path / "one", "scr tpp sparse_probing")
    assert metrics(tmp_path / "two", "tpp sparse_probing") == {name: found[name] for name in ("tpp", "sparse_probing")}
    # A mean over seven data sets is never held beside SAEBench's over eight.
    assert result(tmp_path / "one", "sparse_probing")["eval_type_id"] == "sparse_probing_7_sets"
    assert found["sparse_probing"]["sae"]["sae_top_1_test_accuracy"] > 0.5
    assert found["tpp"]["tpp_metrics"]["tpp_threshold_50_total_metric"] is not None
    assert found["tpp"]["tpp_metrics"]["tpp_threshold_500_total_metric"] is None  # the SAE has fewer latents
    assert found["scr"]["scr_metrics"]["scr_metric_threshold_10"] is not None
    assert torch.is_grad_enabled()


def test_data_that_cannot_be_had_are_a_reason(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "TEXTS", ("LabHC/no_such_data",))

    skipped = lab.score(TopK(0), "sparse_probing", tmp_path)

    assert skipped["sparse_probing"]
    assert not list(tmp_path.glob("*.json"))


def test_no_room_for_activations_is_said_beforehand(lab, tmp_path):
    skipped = lab.score(TopK(0), "sparse_probing", tmp_path, probing_rows=10**9)

    assert "no room" in skipped["sparse_probing"]
    assert "--set probing_rows=N" in skipped["sparse_probing"]


@contextlib.contextmanager
def judge(reply: str) -> Iterator[str]:
    """A judge on loopback that always says `reply`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            message = {"role": "assistant", "content": reply}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = json.dumps(
                {"id": "1", "object": "chat.completion", "created": 1, "model": "judge", "choices": [choice]}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def test_autointerp_asks_the_judge_of_the_environment(lab, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "OPENAI_API_KEY" in lab.score(TopK(0), "autointerp", tmp_path, context=64)["autointerp"]

    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-the-judge")
    with judge("1, 2, 3") as address:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        assert lab.score(TopK(0), "autointerp", tmp_path, context=64) == {}
    assert 0 <= metrics(tmp_path, "autointerp")["autointerp"]["autointerp"]["autointerp_score"] <= 1
    assert not any("secret-of-the-judge" in file.read_text() for file in tmp_path.iterdir())


def test_a_judge_whose_replies_cannot_be_read_gives_no_score(lab, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    with judge("all of them, I think") as address:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        skipped = lab.score(TopK(0), "autointerp", tmp_path, context=64)

    assert skipped == {"autointerp": "SAEBench gave no number for autointerp.autointerp_score"}
    assert not (tmp_path / "autointerp.json").exists()


def test_unlearning_is_asked_of_the_models_that_saebench_has_prompts_for(lab, tmp_path):
    skipped = lab.score(TopK(0), "unlearning", tmp_path)

    assert skipped["unlearning"].startswith("SAEBench asks its questions of gemma-2-2b-it and gemma-2-9b-it alone")


def test_an_eval_that_is_unknown_is_refused_with_those_that_are_known(lab, tmp_path):
    with pytest.raises(SettingsError, match=r"evals: ravel unknown\. Known: core absorption"):
        lab.score(TopK(0), "core ravel", tmp_path)


def written(folder: Path, **changes: object) -> Path:
    made = {"datetime_epoch_millis": int(1000 * time.time()), "eval_result_metrics": {"a": {"score": 0.5, "other": 1}}}
    folder.mkdir(exist_ok=True)
    (folder / "sae_custom_sae_eval_results.json").write_text(json.dumps(made | changes))
    return folder


def test_a_result_that_is_old_or_has_no_number_is_none(tmp_path):
    begun = time.time()
    assert take(written(tmp_path), begun, ("a.score",), [])["eval_result_metrics"]["a"]["score"] == 0.5
    with pytest.raises(Skip, match="older than this scoring"):
        take(written(tmp_path), time.time() + 60, ("a.score",), [])
    for number in (float("nan"), float("inf"), -1, -1.0, None):
        with pytest.raises(Skip, match=r"no number for a\.score"):
            take(written(tmp_path, eval_result_metrics={"a": {"score": number}}), 0, ("a.score",), [])


def test_numbers_that_are_none_are_null_beside_those_that_are(tmp_path):
    odd = {"a": {"score": 0.5, "nan": float("nan"), "missing": -1, "loss": -0.25, "flag": True}}

    found = take(written(tmp_path, eval_result_metrics=odd), 0, ("a.score",), [])

    assert found["eval_result_metrics"]["a"] == {"score": 0.5, "nan": None, "missing": None, "loss": -0.25, "flag": True}


def test_a_model_that_transformer_lens_does_not_know_is_not_scored(lab, tmp_path):
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "config.json").write_text('{"model_type": "strange"}')

    with pytest.raises(CannotPrepare, match="transformer-lens, which knows no model 'strange'"):
        lab.score(TopK(0), "core absorption", tmp_path / "out", model=str(tmp_path / "strange"))


def test_prepare_makes_what_scores_need_and_says_what_cannot_be_had(lab, first, tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "TEXTS", ("LabHC/no_such_data",))
    settings = lab.settings("core sparse_probing")
    cache = tmp_path / "evals"

    lab.said.clear()
    evals.prepare(settings, cache, lab.said.append)

    assert evals._place("core", settings, cache).is_dir()
    assert any(line.startswith("sparse_probing will be skipped: ") for line in lab.said)


def test_the_working_directory_is_left_as_it_was(lab):
    before, state = Path.cwd(), torch.is_grad_enabled()
    bench = bench_of(lab.settings("core"), lab.said.append)
    with at_work(bench) as place:
        assert Path.cwd() == place.resolve()
        assert (place / bench.official / "config.json").is_file()
        torch.set_grad_enabled(False)

    assert (Path.cwd(), torch.is_grad_enabled()) == (before, state)
    assert not place.exists()


def test_each_eval_is_offered_by_its_name_in_saebench():
    assert list(EVALS) == [
        "core",
        "absorption",
        "sparse_probing",
        "sparse_probing_sae_probes",
        "tpp",
        "scr",
        "autointerp",
        "unlearning",
    ]
