"""Language models of each family: their decoder layers are found, and the activations are those of a plain forward pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from saelab import model_files
from saelab.errors import CannotPrepare
from saelab.models import decoder_layers, known_outline, layer_output, load_model, outline, torch_device
from saelab.settings import LanguageModelData, SettingsError

from .small_models import CONFIGS, save_model
from .waiting import HANGS

DATA = LanguageModelData(
    model=".", revision="", layer=1, dataset="docstrings", context=8, harvest_tokens=100, dtype="float32", data_seed=0
)
CPU = torch.device("cpu")
TOKENS = torch.arange(24).reshape(3, 8) + 3


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("gpt-neox", tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_are_those_of_a_plain_forward_pass(folder: Path, dtype: str) -> None:
    model, _ = load_model(replace(DATA, model=str(folder), dtype=dtype), CPU)
    with torch.inference_mode():
        states = model(input_ids=TOKENS, output_hidden_states=True).hidden_states
    for layer in (0, 1):  # what transformers gives for the last layer is normalised
        got = layer_output(model, layer, TOKENS)
        assert got.dtype == getattr(torch, dtype)
        assert torch.equal(got, states[layer + 1])
    assert not torch.allclose(states[1], states[2])


def test_the_last_layers_activations_are_before_the_final_norm(folder: Path) -> None:
    model, _ = load_model(replace(DATA, model=str(folder), layer=2), CPU)
    seen = []
    hook = decoder_layers(model)[2].register_forward_hook(
        lambda module, inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.inference_mode():
        model(input_ids=TOKENS)
    hook.remove()
    assert torch.equal(layer_output(model, 2, TOKENS), seen[0])


def test_the_forward_pass_ends_at_the_layer(folder: Path) -> None:
    model, _ = load_model(replace(DATA, model=str(folder)), CPU)
    layers = decoder_layers(model)
    reached: list[str] = []
    for name, module in {**{str(i): layer for i, layer in enumerate(layers)}, "logits": model.lm_head}.items():
        module.register_forward_hook(lambda *_, name=name: reached.append(name))
    layer_output(model, 1, TOKENS)
    assert reached == ["0", "1"]
    reached.clear()
    model(input_ids=TOKENS)  # and nothing of it is left behind
    assert reached == ["0", "1", "2", "logits"]


def test_models_of_the_profiles_are_known_without_the_hub() -> None:
    """Parameters as their makers publish them."""
    for model, layer, parameters, size in (
        ("google/gemma-2-2b", 12, 2_614_341_888, 10_457_367_552),
        ("google/gemma-2-2b-it", 12, 2_614_341_888, 5_228_683_776),
        ("EleutherAI/pythia-70m-deduped", 3, 70_426_624, 140_853_248),
    ):
        found = known_outline(replace(DATA, model=model, layer=layer))
        assert found is not None and (found[0].parameters, found[1]) == (parameters, size)
    assert known_outline(DATA) is None


def test_a_models_size_is_known_without_its_weights(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    found = outline(replace(DATA, model=str(tmp_path)))
    model, _ = load_model(replace(DATA, model=str(folder)), CPU)
    assert (found.layers, found.width) == (3, 16)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.used == 2 * sum(p.numel() for p in decoder_layers(model)[0].parameters())


def test_a_model_whose_layers_are_not_found_is_said(one: Path) -> None:
    model, _ = load_model(replace(DATA, model=str(one)), CPU)
    model.config.num_hidden_layers = 7
    with pytest.raises(CannotPrepare, match=r"its 7 decoder layers were not found.*gpt_neox.layers \(3\)"):
        decoder_layers(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer": 3}, "layer 3: .* has 3 decoder layers, 0 to 2"),
        ({"model": "/nowhere"}, "model /nowhere: no config.json there"),
        ({"model": "a/b/c"}, "the hub has no model of this name"),
    ],
)
def test_what_cannot_be_loaded_is_said(one: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(CannotPrepare, match=words):
        load_model(replace(DATA, **{"model": str(one), **change}), CPU)


def test_weights_that_need_pickle_are_not_read(one: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((one / "config.json").read_text())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((one / name).read_text())
    model, _ = load_model(replace(DATA, model=str(one)), CPU)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CannotPrepare, match="weights in safetensors"):
        load_model(replace(DATA, model=str(tmp_path)), CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said() -> None:
    assert torch_device("auto") == torch_device("cpu")
    with pytest.raises(SettingsError, match=r"sees no GPU here. --set device=cpu"):
        torch_device("cuda")


def test_a_local_models_identity_is_its_content(one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path / "lab"))
    copy = save_model("gpt-neox", tmp_path / one.name)
    mine, theirs = (replace(DATA, model=str(place)) for place in (one, copy))
    assert model_files.identity(mine) == model_files.identity(theirs)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_files.identity(mine) != model_files.identity(theirs)


# --- the hub -------------------------------------------------------------------------------------------------------------

COMMIT = "c" * 40


class Hub(ThreadingHTTPServer):
    """A hub on loopback: what it has is served as the real one serves it, the rest is refused."""

    def __init__(self, folder: Path, refusal: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {file.name: file.read_bytes() for file in folder.iterdir()}
        self.refusal = refusal
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        is_file = "/resolve/" in path or path.endswith("/auth-check")
        if self.server.refusal and (is_file or self.server.refusal != "GatedRepo"):  # what is gated is listed all the same
            status = 401 if self.server.refusal == "RepoNotFound" else 403
            self._answer(status, b"{}", {"X-Error-Code": self.server.refusal})
        elif path == "/api/models/some/model/auth-check":
            self._answer(200, b"{}")
        elif path == "/api/models/some/model/revision/main":
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.server.files.items()]
            self._answer(200, json.dumps({"id": "some/model", "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"/api/models/some/model/tree/{COMMIT}"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": name}
                for name, content in self.server.files.items()
            ]
            self._answer(200, json.dumps(tree).encode())
        elif path.startswith(f"/some/model/resolve/{COMMIT}/") and path.rpartition("/")[2] in self.server.files:
            name = path.rpartition("/")[2]
            self._answer(200, self.server.files[name], {"X-Repo-Commit": COMMIT, "ETag": f'"{name}"'})
        else:
            self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(one: Path) -> Iterator[Hub]:
    with Hub(one) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


ASK = """
import sys
from saelab import model_files, settings
data = settings.LanguageModelData(
    model="some/model", revision="main", layer=1, dataset="/nowhere", context=8, harvest_tokens=9, dtype="float32", data_seed=0
)
try:
    print(model_files.identity(data))
    print(model_files.download_bytes(data))
    print(model_files.fetch(data, print).name)
    print(model_files.download_bytes(data), model_files.identity(data))
except model_files.CannotPrepare as error:
    sys.exit(str(error))
"""


def ask(hub: Hub, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: the hub's library reads its environment when it is imported."""
    place = f"http://127.0.0.1:{hub.server_port}"
    given = {"HF_ENDPOINT": place, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HARNESS_LAB_CACHE": str(home / "lab")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", ASK],
        env=inherited | given | environment,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )


def test_a_model_of_the_hub_is_downloaded_once_and_known_by_its_commit(hub: Hub, one: Path, tmp_path: Path) -> None:
    wanted = [file for file in one.iterdir() if file.suffix in (".json", ".safetensors")]
    hub.files["pytorch_model.bin"] = b"pickle"
    done = ask(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    unknown, size, said, name, after = done.stdout.splitlines()
    assert (unknown, name) == ("None", COMMIT)
    assert int(size) == sum(file.stat().st_size for file in wanted)
    assert said.startswith("downloading some/model")
    assert after == f"0 {{'model': 'some/model', 'commit': '{COMMIT}'}}"
    assert not any("pytorch_model.bin" in path for path in hub.asked if "resolve" in path)
    hub.asked.clear()
    assert ask(hub, tmp_path).returncode == 0
    assert hub.asked == []


@pytest.mark.parametrize(
    ("refusal", "token", "words"),
    [
        ("GatedRepo", "", "is gated, and nobody is logged in to the hub here"),
        ("GatedRepo", "hf_x", "is gated, and your account has no access to it"),
        ("RepoNotFound", "", "the hub has no model of this name. If it is private: `hf auth login`"),
        ("RevisionNotFound", "", "the hub has no revision 'main' of it"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(
    hub: Hub, tmp_path: Path, refusal: str, token: str, words: str
) -> None:
    hub.refusal = refusal
    done = ask(hub, tmp_path, **({"HF_TOKEN": token} if token else {}))
    assert done.returncode == 1
    assert words in done.stderr
    if refusal == "GatedRepo":
        assert f"accept its terms at http://127.0.0.1:{hub.server_port}/some/model" in done.stderr


def test_a_hub_that_cannot_be_asked_is_said(hub: Hub, tmp_path: Path) -> None:
    done = ask(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "it is not on this machine, and the hub does not answer" in done.stderr
    assert "HF_HUB_OFFLINE" in done.stderr and hub.asked == []
