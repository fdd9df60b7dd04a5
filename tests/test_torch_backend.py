"""Graphs that torch executes give what onnxruntime gives; others are left to onnxruntime, and that is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from onnx import TensorProto

import saelab
from saelab import scoring, worlds
from saelab.artifact_files import DECODE, ENCODE
from saelab.models import torch_device
from saelab.scorer import operations
from saelab.scorer.graph import Graph, Refused, read_model
from saelab.scorer.sealed import Sealed, load_graph
from saelab.scorer.torch_backend.graph import OPERATIONS, TorchGraph
from saelab.scorer.torch_sae import SealedSAE
from saelab.settings import SettingsError
from saelab.synthetic import world_of

from .onnx_graphs import AXIS_1, GRAPHS, HALF, SQUARE, WIDTH, int64, node, proto, rows
from .test_scorer import D_IN, D_SAE, USED, TopK, hand_over
from .training import ROOT, load, quick_settings
from .waiting import HANGS


def by_both(nodes, constants=None, opset=20, x=None, width_out=WIDTH):
    """What onnxruntime and torch make of the rows `x`; None where onnxruntime has no answer."""
    model = read_model(proto(nodes, constants or {}, opset, width_out=width_out).SerializeToString(), "g.onnx")
    reference = Graph(model, "g.onnx", threads=1)
    x = rows() if x is None else x
    try:
        wanted = reference.compute(x)
    except Refused:
        return None, None
    return wanted, TorchGraph(model, reference, torch.device("cpu")).compute(x)


@pytest.mark.parametrize("name", GRAPHS)
def test_torch_gives_what_onnxruntime_gives(name):
    nodes, constants, opset = GRAPHS[name]
    wanted, found = by_both(nodes, constants, opset)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", [name for name in GRAPHS if "of all" not in name])
def test_no_rows_at_all_are_no_fault(name):
    nodes, constants, opset = GRAPHS[name]
    wanted, found = by_both(nodes, constants, opset, x=rows(0))
    assert wanted is None or found.shape == wanted.shape


def test_every_operation_that_rows_are_known_to_be_independent_under_is_executed():
    names = operations.UNARY | operations.ELEMENTWISE | operations.REDUCE | set(operations.ALONG_AN_AXIS)
    assert names <= OPERATIONS.keys()
    tried = {each.op_type for nodes, _, _ in GRAPHS.values() for each in nodes}
    assert OPERATIONS.keys() <= tried


def test_of_equal_numbers_the_first_are_kept_in_long_rows_too():
    """Beyond eight times k another way is taken; ties within the k largest, at the last place, and everywhere."""
    x = np.zeros((4, WIDTH), dtype=np.float32)
    wide = np.zeros((3, 400), dtype=np.float32)
    wide[0, ::2] = 1
    wide[1, 390:] = [3, 2, 2, 2, 1, 3, 1, 1, 1, 1]
    nodes = [node("MatMul", ["x", "none"], ["zero"]), node("Slice", ["zero", "o", "three", "o"], ["cut"])]
    nodes += [node("Add", ["cut", "wide"], ["w"]), node("TopK", ["w", "k"], ["v", "i"]), node("Cast", ["i"], ["f"], to=1)]
    nodes += [node("Concat", ["v", "f"], axis=1)]
    constants = {"none": np.zeros((WIDTH, 400), np.float32), "o": int64(0), "three": int64(3), "wide": wide, "k": int64(6)}
    wanted, found = by_both(nodes, constants, x=x, width_out=12)
    assert (found == wanted).all()
    assert found[1].tolist() == [3, 3, 2, 2, 2, 1, 390, 395, 391, 392, 393, 394]
    assert found[2, 6:].tolist() == [0, 1, 2, 3, 4, 5]


# --- what is not executed ------------------------------------------------------------------------------------------------


def loaded(nodes, constants=None, opset=20, torch_on="cpu"):
    return load_graph(proto(nodes, constants or {}, opset).SerializeToString(), ENCODE, threads=1, torch_on=torch_on)


@pytest.mark.parametrize(
    ("nodes", "constants", "why"),
    [
        ([node("Einsum", ["x", "w"], equation="ni,ij->nj")], {"w": SQUARE}, "torch does not execute Einsum here"),
        (
            [node("Cast", ["x"], ["u"], to=TensorProto.UINT32), node("Cast", ["u"], to=TensorProto.FLOAT)],
            {},
            "tensors of uint32",
        ),
        (
            [node("Cast", ["x"], ["i"], to=6), node("MatMul", ["i", "w"], ["m"]), node("Cast", ["m"], to=TensorProto.FLOAT)],
            {"w": np.eye(WIDTH, dtype=np.int32)},
            "MatMul of whole numbers",
        ),
    ],
)
def test_what_torch_does_not_execute_onnxruntime_does_and_it_is_said(nodes, constants, why):
    graph = loaded(nodes, constants)
    assert isinstance(graph, Graph)
    assert graph.remark.startswith(f"{ENCODE} is executed by onnxruntime on the CPU: ")
    assert why in graph.remark
    assert "rows a second" in graph.cost
    assert np.allclose(graph.run(torch.from_numpy(rows())), graph.run(rows()))


def test_a_graph_that_torch_computes_otherwise_is_left_to_onnxruntime(monkeypatch):
    monkeypatch.setitem(OPERATIONS, "Softplus", lambda node, x: x.relu())
    graph = loaded([node("Softplus", ["x"])])
    assert isinstance(graph, Graph)
    assert "torch gives something else in" in graph.remark
    assert isinstance(loaded([node("Relu", ["x"])]), TorchGraph)


def far(*nodes):
    """Nodes that see a number above 0 for each row of ones alone: what they ask for is not seen before."""
    return [node("ReduceMin", ["x", "a"], ["least"]), node("Cast", ["least"], ["big"], to=TensorProto.INT64), *nodes]


def test_an_index_that_is_not_there_is_refused_before_it_is_used():
    nodes = far(node("Squeeze", ["big", "a"], ["i"]), node("Gather", ["w", "i"]))
    graph = loaded(nodes, {"a": AXIS_1, "w": np.zeros((10**4, WIDTH), np.float32)})
    assert isinstance(graph, TorchGraph)
    with pytest.raises(Refused, match=f"{ENCODE}: fails on 3 rows: an index lies outside an axis of 10000"):
        graph.run(np.full((3, WIDTH), 10**6, dtype=np.float32))


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Expand", ["least", "size"], ["e"])],
        [node("ConstantOfShape", ["size"], ["e"])],
        [node("Tile", ["least", "size"], ["e"])],
        [node("Squeeze", ["size", "z"], ["d"]), node("OneHot", ["row", "d", "v"], ["e"])],
        [node("Squeeze", ["size", "z"], ["d"]), node("Range", ["none", "d", "one"], ["e"])],
        [node("Concat", ["zero", "zero", "zero", "size"], ["p"], axis=0), node("Pad", ["x", "p"], ["e"])],
    ],
    ids=lambda nodes: nodes[-1].op_type,
)
def test_a_tensor_that_there_is_no_room_for_is_not_made(nodes):
    """A few bytes of a graph can ask for any amount, by numbers that only certain rows hold."""
    before = [node("ReduceMin", ["big", "z"], ["most"], keepdims=0), node("Max", ["most", "one1"], ["size1"])]
    if nodes[-1].op_type in ("Expand", "Tile", "ConstantOfShape"):
        before += [node("Concat", ["one1", "size1"], ["size"], axis=0)]
    else:
        before += [node("Identity", ["size1"], ["size"])]
    after = [node("ReduceMax", ["e"], ["m"], keepdims=0), node("Cast", ["m"], ["f"], to=1), node("Add", ["x", "f"])]
    constants = {"a": AXIS_1, "z": int64(0), "one1": int64(1), "zero": int64(0), "none": np.int64(0), "one": np.int64(1)}
    constants |= {"row": int64(0), "v": np.array([0, 1], np.float32)}
    graph = loaded(far(*before, *nodes, *after), constants)
    assert isinstance(graph, TorchGraph), graph.remark
    with pytest.raises(
        Refused, match=rf"{ENCODE}: fails on 2 rows: {nodes[-1].op_type} asks for a tensor of \[.*GB; there are"
    ):
        graph.run(np.full((2, WIDTH), 1e13, dtype=np.float32))


def test_what_fails_on_the_gpu_itself_ends_the_process_that_scores(monkeypatch):
    """A library in between cannot swallow it: nothing that this process computes afterwards could be believed."""
    graph = loaded([node("Relu", ["x"])])

    def fails(node, x):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setitem(OPERATIONS, "Relu", fails)
    with pytest.raises(SystemExit, match=f"saelab.scorer: {ENCODE}: artifact refused: it fails on the GPU: CUDA error"):
        graph.run(rows())


# --- whole SAEs ----------------------------------------------------------------------------------------------------------


def sealed_by_both(folder):
    return Sealed(folder, threads=1), Sealed(folder, threads=1, torch_on="cpu")


def differing(one, other):
    """Rows of codes that differ by more than 1e-5 of their norm, but for what ties at the smallest of a row."""
    apart = np.abs(one - other) > 1e-5 * np.linalg.norm(one, axis=1, keepdims=True)
    last = np.where(one > 0, one, np.inf).min(axis=1, keepdims=True)
    tied = np.abs(np.maximum(one, other) - last) <= 1e-5 * last
    return int((apart & ~tied).any(axis=1).sum())


@pytest.fixture(scope="module", params=["topk", "standard", "batchtopk", "matryoshka", "jumprelu"])
def trained(request, tmp_path_factory):
    """The artifact of an SAE of each architecture after a short training, and the settings."""
    folder = tmp_path_factory.mktemp(request.param)
    small = {"steps": 60, "train_rows": 8192, "eval_rows": 2048, "warmup_steps": 5}
    architecture = "topk" if request.param == "jumprelu" else request.param
    settings = quick_settings(small | {"architecture": architecture})
    experiment = load((ROOT / "experiment.py").read_text(), folder / "code")
    torch.manual_seed(0)
    trainer = experiment.build(settings)
    for x in saelab.activations(settings):
        trainer.update(x)
    sae = trainer.sae
    if request.param == "jumprelu":
        threshold = torch.rand(settings.dict_size, generator=torch.Generator().manual_seed(1)) / 2
        sae.encode = lambda x: torch.where(sae.pre_activations(x) > threshold, sae.pre_activations(x), 0.0)
    used = {"architecture": request.param, "d_in": settings.d_in, "dict_size": settings.dict_size, "k": settings.k}
    return hand_over(folder / "run", sae, used), settings


def test_codes_and_scores_of_every_architecture_are_onnxruntimes(trained):
    artifact, settings = trained
    by_onnxruntime, by_torch = sealed_by_both(artifact)
    assert isinstance(by_torch._encode, TorchGraph) and isinstance(by_torch._decode, TorchGraph)
    truth = worlds.truth(settings).arrays
    x = truth["activations"]
    assert differing(by_onnxruntime.encode(x), by_torch.encode(x)) == 0
    assert np.allclose(by_torch.W_dec, by_onnxruntime.W_dec, atol=1e-6)
    world = world_of(truth, settings)
    wanted, found = (
        scoring.score_rows(sealed, world, truth["magnitudes"], truth["activations"]) for sealed in (by_onnxruntime, by_torch)
    )
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    assert by_torch.verified() == by_onnxruntime.verified()
    assert by_torch.remarks == by_onnxruntime.remarks


@pytest.mark.parametrize("keep", ["rows", "threshold", "where"])
def test_sae_bench_gets_the_same_tensors_from_both(keep, tmp_path):
    one, other = map(SealedSAE, sealed_by_both(hand_over(tmp_path, TopK(keep), USED | {"k": None})))
    x = 2 * torch.randn(3, 50, D_IN, generator=torch.Generator().manual_seed(1))
    codes = other.encode(x)
    assert codes.shape == (3, 50, D_SAE)
    assert torch.allclose(codes, one.encode(x), atol=1e-5)
    assert torch.allclose(other.decode(codes), one.decode(codes), atol=1e-5)
    assert other._sealed.count == one._sealed.count


def test_settings_of_the_process_do_not_reach_the_graph(tmp_path):
    """Neither bfloat16 nor coarser products that a library switched on."""
    sealed = Sealed(hand_over(tmp_path, TopK()), threads=1, torch_on="cpu")
    x = torch.randn(20, D_IN)
    wanted = sealed.encode(x)
    decoded = SealedSAE(sealed).decode(wanted)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
            assert torch.equal(sealed.encode(x), wanted)
            assert torch.equal(SealedSAE(sealed).decode(wanted), decoded)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    on_gpu = torch.backends.cuda.matmul
    unset = on_gpu.fp32_precision
    on_gpu.fp32_precision = "tf32"  # the newer way, after which asking in the older one is an error
    try:
        assert torch.equal(sealed.encode(x), wanted)
        assert on_gpu.fp32_precision == "tf32"
        hand_over(tmp_path / "again", TopK())
    finally:
        on_gpu.fp32_precision = unset


def test_codes_that_depend_on_other_rows_are_refused_whatever_executes_them(tmp_path):
    artifact = hand_over(tmp_path, TopK())
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("ReduceMax", ["p", "z"], ["m"]), node("Mul", ["m", "h"], ["b"])]
    nodes += [node("Sub", ["p", "b"], ["s"]), node("Relu", ["s"])]
    weights = np.random.default_rng(0).standard_normal((D_IN, D_SAE)).astype(np.float32)
    made = proto(nodes, {"w": weights, "z": int64(0), "h": HALF}, width=D_IN, width_out=D_SAE)
    (artifact / ENCODE).write_bytes(made.SerializeToString())
    for rows_of in (lambda x: x, torch.from_numpy):
        with pytest.raises(Refused, match="the code of a row depends on the other rows"):
            Sealed(artifact, threads=1, torch_on="cpu").encode(rows_of(rows(2000)))


def test_the_backend_stands_in_the_record_and_a_graph_that_fell_back_too(tmp_path, monkeypatch, capsys):
    from saelab.scorer.__main__ import main

    artifact = hand_over(tmp_path / "run", TopK())
    monkeypatch.chdir(ROOT)

    def facts(name, **settings):
        given = {"d_in": D_IN, "dict_size": D_SAE, "k": 3, "eval_rows": 500}
        monkeypatch.setenv("HARNESS_OVERRIDES", json.dumps(given | settings))
        main(artifact, tmp_path / name)
        return json.loads((tmp_path / name / "facts.json").read_text())

    assert facts("one")["scored_with"]["backend"] == "onnxruntime"
    by_torch = facts("two", scoring_backend="torch")
    assert (by_torch["scored_with"]["backend"], by_torch["remarks"]) == ("torch on cpu", [])
    monkeypatch.delitem(OPERATIONS, "MatMul")
    capsys.readouterr()
    fell_back = facts("three", scoring_backend="torch")
    assert fell_back["scored_with"]["backend"] == "torch on cpu"
    assert [remark.split(" here")[0] for remark in fell_back["remarks"]] == [
        f"{name} is executed by onnxruntime on the CPU: torch does not execute MatMul" for name in (ENCODE, DECODE)
    ]
    assert capsys.readouterr().out.count("rows a second") == 2
    scores = [json.loads((tmp_path / name / "synthetic.json").read_text()) for name in ("one", "two", "three")]
    assert scores[2] == scores[0]
    assert scores[1]["eval_result_metrics"]["scores"] == pytest.approx(scores[0]["eval_result_metrics"]["scores"], abs=1e-4)


# --- on a GPU ------------------------------------------------------------------------------------------------------------


def test_asking_for_a_gpu_leaves_it_to_processes_that_are_forked_later(monkeypatch):
    """Libraries ask while they are imported, in the warm process that scorers are forked from."""
    assert torch.cuda._nvml_based_avail()
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(SettingsError, match=r"device auto: this process was forked .* Take `warm` out of the profile"):
        torch_device("auto")
    assert torch_device("cpu").type == "cpu"


@pytest.mark.parametrize(
    "parts", [["steps", "scoring"], pytest.param(["tests", "worlds"], marks=pytest.mark.slow)], ids=" ".join
)
def test_what_a_gpu_will_be_asked_for_works_small(parts):
    """`make gpu`: a first try of it would cost minutes of a GPU."""
    pytest.importorskip("sae_lens")
    command = [sys.executable, "bench/gpu.py", "--small", "--parts", *parts]
    # Its tests are a run of their own, which what this one has on the machine is nothing of.
    own = {name: value for name, value in os.environ.items() if name != "TESTS_RUN"}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"] == []
    if "steps" in parts:
        assert {"ours", "ours, bf16 encoder", "sae-lens", "sae-lens, bf16 autocast"} <= found["steps"]["16x64"].keys()
        assert all(each["tokens_per_second"] > 0 for each in found["steps"]["16x64"].values())
        assert found["scoring"]["share_of_rows_that_differ"] == 0
        assert found["scoring"]["executed_otherwise"] == []
    else:
        assert found["tests"]["exit_code"] == 0
        assert found["worlds"]["rows"] > 0 and found["worlds"]["forecast_minutes"] > 0


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", GRAPHS)
def test_a_gpu_gives_what_onnxruntime_gives(name):
    nodes, constants, opset = GRAPHS[name]
    model = read_model(proto(nodes, constants, opset).SerializeToString(), "g.onnx")
    reference = Graph(model, "g.onnx", threads=1)
    on_gpu = TorchGraph(model, reference, torch.device("cuda"))
    found = on_gpu.compute(rows())
    assert np.allclose(found, reference.compute(rows()), rtol=1e-5, atol=1e-6, equal_nan=True)
    assert all(np.array_equal(on_gpu.compute(rows()), found, equal_nan=True) for _ in range(3))


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_scores_every_architecture_as_onnxruntime_does(trained):
    artifact, settings = trained
    by_onnxruntime, by_gpu = Sealed(artifact, threads=1), Sealed(artifact, threads=1, torch_on="cuda")
    truth = worlds.truth(settings).arrays
    assert differing(by_onnxruntime.encode(truth["activations"]), by_gpu.encode(truth["activations"])) == 0
    world = world_of(truth, settings)
    wanted, found = (
        scoring.score_rows(sealed, world, truth["magnitudes"], truth["activations"]) for sealed in (by_onnxruntime, by_gpu)
    )
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-4)


@pytest.mark.gpu
@needs_gpu
def test_codes_stay_on_the_gpu(tmp_path):
    sae = SealedSAE(Sealed(hand_over(tmp_path, TopK()), threads=1, torch_on="cuda"))
    x = torch.randn(5, 40, D_IN, device="cuda", dtype=torch.bfloat16)
    codes = sae.encode(x)
    assert (codes.device.type, codes.dtype, codes.shape) == ("cuda", torch.bfloat16, (5, 40, D_SAE))
    assert sae.decode(codes).device.type == "cuda"
    assert all(torch.equal(sae.encode(x), codes) for _ in range(3))


@pytest.mark.gpu
@needs_gpu
def test_a_tensor_that_the_gpu_has_no_room_for_is_not_made():
    nodes = far(node("Concat", ["big", "big"], ["s"], axis=1), node("ReduceMin", ["s", "z"], ["size"], keepdims=0))
    nodes += [
        node("Max", ["size", "one"], ["m"]),
        node("ConstantOfShape", ["m"], ["e"]),
        node("ReduceMax", ["e"], ["f"], keepdims=0),
    ]
    graph = loaded([*nodes, node("Add", ["x", "f"])], {"a": AXIS_1, "z": int64(0), "one": int64(1)}, torch_on="cuda")
    assert isinstance(graph, TorchGraph), graph.remark
    with pytest.raises(Refused, match="ConstantOfShape asks for a tensor"):
        graph.run(np.full((2, WIDTH), 1e9, dtype=np.float32))
