"""The scorer: an SAE is handed over as data, and what is no plain function of rows is refused before or while it runs."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import saelab
from saelab import export, memory
from saelab.artifact_files import ARTIFACT, DECODE, ENCODE, SETTINGS, WEIGHTS
from saelab.scorer import graph
from saelab.scorer.graph import LARGEST, Refused
from saelab.scorer.sealed import Sealed
from saelab.scorer.torch_sae import SealedSAE
from tests.waiting import HANGS

D_IN, D_SAE, K = 8, 24, 3
USED = {"architecture": "topk", "d_in": D_IN, "dict_size": D_SAE, "k": K}


class TopK(torch.nn.Module):
    """A TopK SAE, and variants of it."""

    def __init__(self, keep="rows"):
        super().__init__()
        torch.manual_seed(3)
        self.W_dec = torch.nn.Parameter(torch.nn.functional.normalize(torch.randn(D_SAE, D_IN)))
        self.W_enc = torch.nn.Parameter(self.W_dec.detach().T.clone())
        self.b_enc = torch.nn.Parameter(0.1 * torch.randn(D_SAE))
        self.b_dec = torch.nn.Parameter(torch.randn(D_IN))
        self.keep = keep

    def encode(self, x):
        f = torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)
        if self.keep == "rows":
            values, indices = f.topk(K, dim=1, sorted=False)
            return torch.zeros_like(f).scatter(1, indices, values)
        if self.keep == "threshold":
            return f * (f > 0.4)
        if self.keep == "where":
            return torch.where(f > 0.4, f, 0.0)
        if self.keep == "batch":
            flat = f.flatten()
            return torch.where(f >= flat.topk(K * len(f)).values[-1], f, 0.0)
        if self.keep == "average":
            return torch.relu(f - f.mean())
        if self.keep == "loop":
            return torch.stack([row if row.max().item() > 1 else 2 * row for row in f])
        assert self.keep == "halves"
        low, high = f.split(D_SAE // 2, dim=1)
        return torch.cat([low, high * (high > low)], dim=1)

    def decode(self, f):
        return f @ self.W_dec + self.b_dec


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
    """The artifact of a TopK SAE."""
    return hand_over(tmp_path_factory.mktemp("run"), TopK())


def hand_over(out_dir, sae, used=USED):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_SCORER_FOLLOWS", "1")
        saelab.hand_over(out_dir, sae, used, {"final_loss": 0.5})
    return out_dir / ARTIFACT


@pytest.fixture
def artifact(handed, tmp_path):
    """A copy that a test may spoil."""
    return Path(shutil.copytree(handed, tmp_path / ARTIFACT))


def load(folder):
    return Sealed(folder, threads=1)


def rows(n=200):
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(1)) * 2


# --- what is handed over -------------------------------------------------------------------------------------------------


def test_what_is_handed_over_gives_the_same_codes_and_rows(handed):
    sae, sealed, x = TopK(), load(handed), rows()
    with torch.no_grad():
        f = sae.encode(x)
        assert np.allclose(sealed.encode(x.numpy()), f, atol=1e-5)
        assert np.allclose(sealed.decode(f.numpy()), sae.decode(f), atol=1e-5)
    assert np.allclose(sealed.W_dec, sae.W_dec.detach(), atol=1e-6)
    assert sealed.verified() == {"d_in": D_IN, "dict_size": D_SAE, "k": K}


def test_a_mean_far_larger_than_its_scatter_accuses_nobody_and_hides_nobody(tmp_path):
    sae = TopK()
    with torch.no_grad():
        sae.b_dec[0] = 6000.0  # as language models have it in some coordinates
    sealed = load(hand_over(tmp_path, sae))
    assert sealed.remarks == []
    assert np.allclose(sealed.W_dec, sae.W_dec.detach(), atol=1e-5)
    f = sealed.encode((rows() + sae.b_dec.detach()).numpy())
    bent = sealed.decode(f)
    bent[:, 1] += 0.5  # a seventh of the scatter, and a thousandth of what is there without any code
    with pytest.raises(Refused, match="not affine"):
        sealed.look_at_rows(bent, f, True)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_codes_of_any_scale_are_scored(scale, tmp_path):
    sae = TopK()
    with torch.no_grad():
        sae.W_enc *= scale
        sae.b_enc *= scale
        sae.W_dec /= scale
    sealed = load(hand_over(tmp_path, sae))
    assert np.allclose(sealed.W_dec * scale, sae.W_dec.detach() * scale, atol=1e-5)
    x = rows().numpy()
    assert np.allclose(sealed.decode(sealed.encode(x)), sae.decode(sae.encode(rows())).detach(), atol=1e-4)


def test_the_folder_holds_data_and_nothing_else(handed):
    assert sorted(path.name for path in handed.iterdir()) == [DECODE, ENCODE, SETTINGS, WEIGHTS]
    left = json.loads((handed.parent / "final_info.json").read_text())
    assert left == {"settings": USED, "metrics": {"final_loss": 0.5}}


@pytest.mark.parametrize("keep", ["rows", "threshold", "where"])
def test_common_variants_are_written_down_without_torchs_exporter(keep, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_exported", None)
    sae = TopK(keep)
    codes = load(hand_over(tmp_path, sae, USED | {"k": None})).encode(rows().numpy())
    assert np.allclose(codes, sae.encode(rows()).detach(), atol=1e-5)


def test_other_variants_go_through_torchs_exporter(tmp_path):
    sae = TopK("halves")
    artifact = hand_over(tmp_path, sae, USED | {"k": None})
    by_torch = Sealed(artifact, threads=1, torch_on="cpu")
    assert by_torch.costs == []  # what is written so is executed by torch too
    for sealed in (load(artifact), by_torch):
        assert np.allclose(sealed.encode(rows().numpy()), sae.encode(rows()).detach(), atol=1e-5)


def test_codes_that_depend_on_other_rows_are_explained_to_the_agent(tmp_path):
    with pytest.raises(saelab.ExportError, match=r"depends on the other rows of its batch.*a rule for a single row"):
        hand_over(tmp_path, TopK("batch"))
    assert not (tmp_path / "final_info.json").exists()


def test_what_cannot_be_exported_is_explained_to_the_agent(tmp_path):
    with pytest.raises(saelab.ExportError, match=r"encode cannot be exported to ONNX.*without `if` on their values"):
        hand_over(tmp_path, TopK("loop"))


@pytest.mark.parametrize(
    ("used", "words"),
    [
        ({"d_in": 8}, "dict_size None: expected both"),
        (USED | {"dict_size": 25}, "encode: expected shape .2, 25. by the settings"),
    ],
)
def test_settings_that_do_not_fit_the_sae_are_refused(tmp_path, used, words):
    with pytest.raises(ValueError, match=words):
        hand_over(tmp_path, TopK(), used)


def test_a_recorded_graph_is_the_same_whatever_the_exporter_says(tmp_path):
    """Both ways give one function: what is recorded call by call, and what torch exports."""
    sae, examples = TopK(), (rows(5), rows(9))
    with torch.no_grad():
        recorded = export._recorded(sae.encode, "encode", examples, ("x", "f"))
    assert recorded is not None
    assert export._differs(recorded, sae.encode, (rows(64), rows(1))) == ""
    assert "differ" in export._differs(recorded, TopK("threshold").encode, (rows(64),))


# --- what is refused before it runs --------------------------------------------------------------------------------------


def model(nodes, constants=(), ends=(("x", D_IN), ("f", D_SAE)), **opsets):
    """An ONNX model with a free number of rows."""
    (x, width_in), (f, width_out) = ends
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", width_in])],
        [helper.make_tensor_value_info(f, TensorProto.FLOAT, ["n", width_out])],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    imports = [helper.make_opsetid("", 20), *(helper.make_opsetid(name, 1) for name in opsets)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def outside(tensor, path):
    """Make the tensor one whose data lie in another file."""
    onnx.external_data_helper.set_external_data(tensor, path)
    tensor.ClearField("raw_data")


W = ("W", np.random.default_rng(0).standard_normal((D_IN, D_SAE)).astype(np.float32))


def changed(artifact, made, name=ENCODE):
    (artifact / name).write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return artifact


def refusal(artifact):
    with pytest.raises(Refused) as caught:
        sealed = load(artifact)
        sealed.encode(rows(2000).numpy())
    return str(caught.value)


def test_data_outside_the_file_are_not_read(artifact, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\0" * (4 * D_IN * D_SAE))
    made = model([helper.make_node("MatMul", ["x", "W"], ["f"])], [W])
    outside(made.graph.initializer[0], str(secret))
    before = secret.stat().st_atime_ns
    assert "tensor 'W' lies outside the file" in refusal(changed(artifact, made))
    assert secret.stat().st_atime_ns == before


def test_data_outside_the_file_are_not_read_from_a_constant_either(artifact):
    value = numpy_helper.from_array(W[1], "hidden")
    outside(value, "../../secret.bin")
    nodes = [helper.make_node("Constant", [], ["W"], value=value), helper.make_node("MatMul", ["x", "W"], ["f"])]
    assert "tensor 'hidden' lies outside the file" in refusal(changed(artifact, model(nodes)))


@pytest.mark.parametrize("name", [ENCODE, WEIGHTS])
def test_a_file_of_50_gb_is_not_read(artifact, name):
    with (artifact / name).open("r+b") as file:
        file.truncate(50 * 10**9)  # sparse: it takes no space
    assert (artifact / name).stat().st_size > LARGEST
    assert f"{name}: 50.0 GB; more than 2 GB is not read" in refusal(artifact)


def test_operations_outside_the_standard_are_refused(artifact):
    custom = helper.make_node("Fetch", ["x"], ["f"], domain="evil")
    assert "evil.Fetch is not of the ONNX standard" in refusal(changed(artifact, model([custom], evil=1)))
    contributed = helper.make_node("FusedMatMul", ["x", "W"], ["f"], domain="com.microsoft")
    assert "com.microsoft.FusedMatMul" in refusal(changed(artifact, model([contributed], [W])))
    unknown = helper.make_node("ReadFile", ["x"], ["f"])
    assert "operation ReadFile is not of the ONNX standard" in refusal(changed(artifact, model([unknown])))


def test_chance_and_control_flow_are_refused(artifact):
    noise = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
        helper.make_node("MatMul", ["y", "W"], ["f"]),
    ]
    assert "RandomNormalLike: an SAE is scored as a fixed function" in refusal(changed(artifact, model(noise, [W])))
    inner = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "forever",
        [helper.make_tensor_value_info(n, t, []) for n, t in (("i", TensorProto.INT64), ("go", TensorProto.BOOL))],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    bomb = [helper.make_node("Loop", ["", "yes"], [], body=inner), helper.make_node("MatMul", ["x", "W"], ["f"])]
    assert "operation Loop" in refusal(changed(artifact, model(bomb, [W, ("yes", np.array(True))])))


def test_functions_are_refused(artifact):
    made = model([helper.make_node("MatMul", ["x", "W"], ["f"])], [W])
    made.functions.append(
        helper.make_function(
            "evil", "F", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 20)]
        )
    )
    assert "holds functions" in refusal(changed(artifact, made))


def test_inputs_and_outputs_must_be_one_matrix_each_with_free_rows(artifact):
    node = helper.make_node("MatMul", ["x", "W"], ["f"])
    fixed = model([node], [W])
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    assert "expected one input of float32 [n, width]" in refusal(changed(artifact, fixed))
    second = model([node], [W])
    second.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", D_IN]))
    assert "expected one input" in refusal(changed(artifact, second))
    double = model([node], [W])
    double.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    assert "expected one output of float32" in refusal(changed(artifact, double))
    wide = model(
        [helper.make_node("MatMul", ["x", "W"], ["f"])], [("W", np.ones((D_IN, 7), np.float32))], (("x", D_IN), ("f", 7))
    )
    assert f"{DECODE}: takes rows of {D_SAE}" in refusal(changed(artifact, wide))


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path(os.environ["MARK"]),))


@pytest.mark.parametrize("name", [ENCODE, DECODE, WEIGHTS, SETTINGS])
def test_no_pickle_is_ever_loaded(artifact, tmp_path, monkeypatch, name):
    mark = tmp_path / "it-ran"
    monkeypatch.setenv("MARK", str(mark))
    torch.save({"W_dec": Evil()}, tmp_path / "archive.pt")
    for crafted in (pickle.dumps(Evil()), (tmp_path / "archive.pt").read_bytes()):
        assert f"{name}: not " in refusal(changed(artifact, crafted, name))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil()))
    assert mark.exists()  # so that the above proves something


def test_links_pipes_and_missing_files_are_refused(artifact, tmp_path):
    shutil.copy(artifact / ENCODE, tmp_path / "elsewhere.onnx")
    (artifact / ENCODE).unlink()
    assert f"{ENCODE}: missing. `saelab.hand_over" in refusal(artifact)
    (artifact / ENCODE).symlink_to(tmp_path / "elsewhere.onnx")
    assert f"{ENCODE}: cannot be read: " in refusal(artifact)
    (artifact / ENCODE).unlink()
    os.mkfifo(artifact / ENCODE)
    assert f"{ENCODE}: not a regular file" in refusal(artifact)


# --- what is refused for what it computes --------------------------------------------------------------------------------


def test_codes_that_depend_on_other_rows_are_refused(artifact):
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["pre"]),
        helper.make_node("ReduceMax", ["pre", "axes"], ["best"], keepdims=1),
        helper.make_node("Mul", ["best", "half"], ["bar"]),
        helper.make_node("Sub", ["pre", "bar"], ["above"]),
        helper.make_node("Relu", ["above"], ["f"]),
    ]
    constants = [W, ("axes", np.array([0])), ("half", np.float32(0.5))]
    assert "the code of a row depends on the other rows" in refusal(changed(artifact, model(nodes, constants)))


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("share", [1.0, 0.4, 0.05])
def test_codes_of_another_row_are_refused_at_any_scale_and_share(artifact, scale, share):
    """A third of the latents is `scale` times as large as the others (the decoder would divide by it); the others' codes are
    those of the next row, in a share of the rows."""
    first = np.arange(D_SAE) < D_SAE // 3
    nodes = [
        helper.make_node("Slice", ["x", "one", "end", "zero"], ["later"]),
        helper.make_node("Slice", ["x", "zero", "one", "zero"], ["last"]),
        helper.make_node("Concat", ["later", "last"], ["next"], axis=0),
        helper.make_node("Slice", ["x", "zero", "one", "one"], ["number"]),
        helper.make_node("Greater", ["number", "bar"], ["others"]),
        helper.make_node("Where", ["others", "next", "x"], ["mixed"]),
        *[helper.make_node("MatMul", [value, "W"], [f"{value}_pre"]) for value in ("x", "mixed")],
        helper.make_node("Where", ["first", "x_pre", "mixed_pre"], ["pre"]),
        helper.make_node("Mul", ["pre", "scale"], ["scaled"]),
        helper.make_node("Relu", ["scaled"], ["f"]),
    ]
    x = np.random.default_rng(0).standard_normal((4000, D_IN), dtype=np.float32)
    constants = [
        *[W, ("first", first[None]), ("scale", np.where(first, scale, 1).astype(np.float32)[None])],
        *[("zero", np.array([0])), ("one", np.array([1])), ("end", np.array([2**31]))],
        ("bar", np.quantile(x[:, 0], 1 - share).astype(np.float32)[None, None]),
    ]
    changed(artifact, model(nodes, constants))
    for secret in range(5):
        with pytest.raises(Refused, match="the code of a row depends on the other rows"):
            Sealed(artifact, threads=1, secret=str(secret).encode()).encode(x)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_thousandth_of_the_batch_in_each_code_is_refused(artifact, scale):
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["pre"]),
        helper.make_node("Relu", ["pre"], ["own"]),
        helper.make_node("ReduceMean", ["own", "zero"], ["mean"]),
        helper.make_node("Mul", ["mean", "thousandth"], ["part"]),
        helper.make_node("Sub", ["own", "part"], ["less"]),
        helper.make_node("Relu", ["less"], ["rest"]),
        helper.make_node("Mul", ["rest", "scale"], ["f"]),
    ]
    constants = [W, ("zero", np.array([0])), ("thousandth", np.float32(1e-3)), ("scale", np.float32(scale))]
    changed(artifact, model(nodes, constants))
    back = [helper.make_node("MatMul", ["f", "V"], ["x"])]
    changed(artifact, model(back, [("V", W[1].T / np.float32(scale))], (("f", D_SAE), ("x", D_IN))), DECODE)
    with pytest.raises(Refused, match="the code of a row depends on the other rows"):
        load(artifact).encode(rows(4000).numpy())


@pytest.mark.parametrize(("bar", "share"), [("ReduceMax", 0.5), ("ReduceMean", 1.0)])
def test_a_latent_that_other_rows_silence_is_no_tie(artifact, bar, share):
    """A row has one code, which in some rows must come up to those of the batch: nothing else changes."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["pre"]),
        helper.make_node("ReduceMax", ["pre", "one"], ["best"], keepdims=1),
        helper.make_node(bar, ["best", "zero"], ["theirs"], keepdims=1),
        helper.make_node("Mul", ["theirs", "share"], ["bar"]),
        helper.make_node("GreaterOrEqual", ["pre", "best"], ["is_best"]),
        helper.make_node("GreaterOrEqual", ["best", "bar"], ["is_far"]),
        helper.make_node("Slice", ["x", "zero", "one", "one"], ["number"]),
        helper.make_node("Less", ["number", "rare"], ["is_common"]),
        helper.make_node("Or", ["is_far", "is_common"], ["counts"]),
        helper.make_node("And", ["is_best", "counts"], ["fires"]),
        helper.make_node("Where", ["fires", "pre", "nothing"], ["some"]),
        helper.make_node("Relu", ["some"], ["f"]),
    ]
    constants = [W, ("zero", np.array([0])), ("one", np.array([1])), ("nothing", np.float32(0)), ("rare", np.float32(3))]
    constants += [("share", np.float32(share))]
    changed(artifact, model(nodes, constants))
    for secret in range(5):
        with pytest.raises(Refused, match="the code of a row depends on the other rows"):
            Sealed(artifact, threads=1, secret=str(secret).encode()).encode(rows(4000).numpy())


@pytest.mark.parametrize("keep", ["rows", "threshold", "where", "halves"])
def test_a_graph_whose_rows_are_independent_is_known_by_its_operations(keep, tmp_path):
    assert load(hand_over(tmp_path, TopK(keep)))._encode.is_row_independent


def test_codes_of_another_row_are_refused_where_all_codes_are_equal(artifact):
    """Then whatever differs looks like a tie."""
    nodes = [
        helper.make_node("Slice", ["x", "one", "end", "zero"], ["later"]),
        helper.make_node("Slice", ["x", "zero", "one", "zero"], ["last"]),
        helper.make_node("Concat", ["later", "last"], ["next"], axis=0),
        helper.make_node("MatMul", ["next", "W"], ["pre"]),
        helper.make_node("Greater", ["pre", "far"], ["fires"]),
        helper.make_node("Cast", ["fires"], ["f"], to=TensorProto.FLOAT),
    ]
    constants = [W, ("far", np.float32(1)), ("zero", np.array([0])), ("one", np.array([1])), ("end", np.array([2**31]))]
    assert "the code of a row depends on the other rows" in refusal(changed(artifact, model(nodes, constants)))


def test_honest_codes_are_never_refused_for_rounding_and_ties(artifact, monkeypatch):
    monkeypatch.setattr(graph, "is_row_independent", lambda model: False)
    x = np.round(np.random.default_rng(0).standard_normal((2000, D_IN), dtype=np.float32))  # coarse, so that latents tie
    for secret in range(20):
        sealed = Sealed(artifact, threads=1, secret=str(secret).encode())
        sealed.encode(x)
        assert sealed.count.looked_at == 256


def test_a_decoder_that_is_not_affine_is_refused(artifact):
    nodes = [helper.make_node("Tanh", ["f"], ["t"]), helper.make_node("MatMul", ["t", "V"], ["x"])]
    made = model(nodes, [("V", W[1].T.copy())], (("f", D_SAE), ("x", D_IN)))
    assert f"{DECODE}: not affine" in refusal(changed(artifact, made, DECODE))


def test_a_decoder_that_is_affine_only_where_nobody_looks_is_refused(artifact):
    """Unit codes decode as they should, so that the directions are those of a good SAE; real codes do not."""
    nodes = [
        helper.make_node("Greater", ["f", "far"], ["is_far"]),
        helper.make_node("Where", ["is_far", "far", "f"], ["g"]),
        helper.make_node("MatMul", ["g", "V"], ["x"]),
    ]
    made = model(nodes, [("V", W[1].T.copy()), ("far", np.float32(1.1))], (("f", D_SAE), ("x", D_IN)))
    sealed = load(changed(artifact, made, DECODE))
    with pytest.raises(Refused, match="not affine"):
        sealed.decode(sealed.encode(10 * rows().numpy()))


def test_codes_of_nan_are_refused(artifact):
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["pre"]),
        helper.make_node("Sub", ["pre", "far"], ["below"]),
        helper.make_node("Sqrt", ["below"], ["f"]),
    ]
    assert "gave NaN or infinity" in refusal(changed(artifact, model(nodes, [W, ("far", np.float32(5))])))


def test_an_objection_stays_when_somebody_swallows_it(artifact):
    sealed = load(artifact)
    with pytest.raises(Refused):
        sealed.object("no")
    assert sealed.count.objections == ["no"]


def test_negative_codes_are_refused_in_both_scorings(artifact):
    """f -> -f and W_dec -> -W_dec reconstruct alike, and no latent ever fires where firing means more than 0."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["pre"]),
        helper.make_node("Relu", ["pre"], ["f_then"]),
        helper.make_node("Neg", ["f_then"], ["f"]),
    ]
    changed(artifact, model(nodes, [W]))
    with pytest.raises(Refused, match=f"{ENCODE}: codes must be >= 0"):
        load(artifact)
    late = [
        helper.make_node("MatMul", ["x", "W"], ["pre"]),
        helper.make_node("Relu", ["pre"], ["g"]),
        helper.make_node("Where", ["is_far", "minus", "g"], ["f"]),
        helper.make_node("Greater", ["g", "far"], ["is_far"]),
    ]
    nodes = [late[0], late[1], late[3], late[2]]
    sealed = load(changed(artifact, model(nodes, [W, ("far", np.float32(1e4)), ("minus", np.float32(-1))])))
    for encode in (lambda x: sealed.encode(x.numpy()), SealedSAE(sealed).encode):
        with pytest.raises(Refused, match=f"{ENCODE}: codes must be >= 0"):
            encode(1e6 * rows())
    assert len(sealed.count.objections) == 2


def test_negative_codes_are_explained_to_the_agent(tmp_path):
    class Negative(TopK):
        def encode(self, x):
            return -super().encode(x)

    with pytest.raises(saelab.ExportError, match="encode: codes must be >= 0"):
        hand_over(tmp_path, Negative())


def wide(folder, width=2048):
    """The artifact of an SAE of so many latents that a few probes do not reach all of them. Returns its decoder."""
    random = np.random.default_rng(5)
    weights = random.standard_normal((D_IN, width)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "W"], ["pre"]), helper.make_node("Relu", ["pre"], ["f"])]
    changed(folder, model(nodes, [("W", weights)], (("x", D_IN), ("f", width))))
    decode = [helper.make_node("MatMul", ["f", "V"], ["x"])]
    changed(folder, model(decode, [("V", weights.T.copy())], (("f", width), ("x", D_IN))), DECODE)
    return weights.T


def test_no_latent_has_the_direction_that_the_weights_file_claims(artifact):
    from safetensors.numpy import save_file

    true = wide(artifact)
    for latent in range(0, len(true), 400):
        forged = true.copy()
        forged[latent] *= -1
        save_file({"W_dec": forged, "W_enc": true.T.copy(), "b_enc": np.zeros(len(true), np.float32)}, artifact / WEIGHTS)
        sealed = load(artifact)
        assert np.allclose(sealed.W_dec, true, atol=1e-5)
        assert sealed.remarks == [f"W_dec of {WEIGHTS} is not what {DECODE} decodes with; the latter counts."]


def test_rows_are_reconstructed_by_the_directions_of_the_latents_alone(artifact):
    """A decoder that does otherwise in a row that nobody looks at changes nothing."""
    nodes = [
        helper.make_node("MatMul", ["f", "V"], ["plain"]),
        helper.make_node("ReduceMax", ["f", "axes"], ["most"], keepdims=1),
        helper.make_node("Greater", ["most", "far"], ["is_far"]),
        helper.make_node("Where", ["is_far", "cheat", "plain"], ["x"]),
    ]
    constants = [("V", W[1].T.copy()), ("axes", np.array([1])), ("far", np.float32(100)), ("cheat", np.float32(7))]
    sealed = load(changed(artifact, model(nodes, constants, (("f", D_SAE), ("x", D_IN))), DECODE))
    codes = np.random.default_rng(0).random((4000, D_SAE), dtype=np.float32)
    codes[1234, 3] = 200
    assert np.allclose(sealed.decode(codes)[1234], codes[1234] @ W[1].T, rtol=1e-4)
    assert np.allclose(SealedSAE(sealed).decode(torch.from_numpy(codes))[1234], codes[1234] @ W[1].T, rtol=1e-4)


def test_which_rows_are_looked_at_depends_on_a_secret(artifact):
    def looked_at(secret):
        sealed = Sealed(artifact, threads=1, secret=secret)
        return [list(sealed.some(1000)) for _ in range(3)]

    assert looked_at(b"ours") == looked_at(b"ours")
    assert looked_at(b"ours") != looked_at(b"theirs")


def test_encoder_weights_are_believed_where_the_latents_that_fire_obey_them(artifact):
    from safetensors.numpy import load_file, save_file

    true = load_file(artifact / WEIGHTS)
    assert SealedSAE(load(artifact)).W_enc is not None
    for names, forged in (("W_enc", true | {"W_enc": 3 * true["W_enc"]}), ("b_enc", true | {"b_enc": true["b_enc"] + 1})):
        save_file(forged, artifact / WEIGHTS)
        sealed = load(artifact)
        assert (SealedSAE(sealed).W_enc, SealedSAE(sealed).b_enc) == (None, None), names
        assert sealed.remarks == [
            f"W_enc and b_enc of {WEIGHTS} are not what {ENCODE} encodes with; nothing that rests on them is measured."
        ]


def test_weights_that_are_absent_are_said(artifact):
    from safetensors.numpy import save_file

    save_file({"V": np.zeros(2, np.float32)}, artifact / WEIGHTS)
    assert load(artifact).remarks == [f"W_enc, b_enc, W_dec: not in {WEIGHTS} with the shapes of the SAE."]


@pytest.mark.parametrize("k", ["Infinity", "-Infinity", "NaN", "1e400", "2.5"])
def test_a_k_that_is_no_number_of_latents_is_no_setting(artifact, k):
    (artifact / SETTINGS).write_text('{"k": ' + k + "}")
    sealed = load(artifact)
    sealed.encode(rows().numpy())
    assert sealed.verified()["k"] == K


def test_an_l0_that_the_scorer_did_not_count_is_remarked(artifact, tmp_path, monkeypatch):
    from saelab.scorer import __main__ as scorer

    sealed = load(artifact)
    sealed.encode(rows().numpy())
    sealed.compare_l0(K)
    assert sealed.remarks == []
    sealed.compare_l0(1.0)
    assert sealed.remarks == ["L0 1 was measured; the scorer counted 3 latents a row."]
    monkeypatch.setenv("HARNESS_OVERRIDES", json.dumps({"d_in": D_IN, "dict_size": D_SAE, "k": K, "eval_rows": 500}))
    monkeypatch.chdir(Path(__file__).parents[1])
    score = scorer.scoring.score_rows
    monkeypatch.setattr(scorer.scoring, "score_rows", lambda *given: score(*given) | {"l0": 1.0})
    scorer.main(artifact, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())
    assert facts["l0"] == K
    assert facts["remarks"] == ["L0 1 was measured; the scorer counted 3 latents a row."]


def test_a_width_beyond_all_sense_is_refused_before_anything_is_loaded(artifact):
    nodes = [helper.make_node("MatMul", ["x", "W"], ["f"])]
    made = model(nodes, [W], (("x", D_IN), ("f", 2**31)))
    assert f"{ENCODE}: gives rows of 2,147,483,648; the most that is read is" in refusal(changed(artifact, made))


@pytest.mark.parametrize("when", ["loaded", "run"])
def test_a_small_file_cannot_ask_for_more_memory_than_there_is(artifact, when, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10**9)
    size = ("size", np.array([2**29], dtype=np.int64))  # of four bytes each
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ReduceMin", ["shape"], ["some"], keepdims=1),
        helper.make_node("Add", ["some", "size"], ["more"]),
        helper.make_node("ConstantOfShape", ["size" if when == "loaded" else "more"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["zero"], keepdims=0),
        helper.make_node("MatMul", ["x", "W"], ["pre"]),
        helper.make_node("Add", ["pre", "zero"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["f"]),
    ]
    assert f"{ENCODE}: " in refusal(changed(artifact, model(nodes, [W, size])))


# --- what is known of it -------------------------------------------------------------------------------------------------


def test_reported_settings_do_not_decide_what_is_verified(artifact):
    (artifact / SETTINGS).write_text(json.dumps(USED | {"k": 2, "dict_size": 7}))
    sealed = load(artifact)
    sealed.encode(rows().numpy())
    assert sealed.verified() == {"d_in": D_IN, "dict_size": D_SAE, "k": K}
    assert sealed.count.most == K


def test_weights_that_the_decoder_does_not_use_are_not_believed(artifact):
    from safetensors.numpy import load_file, save_file

    weights = load_file(artifact / WEIGHTS)
    true = weights["W_dec"]
    save_file(weights | {"W_dec": true[::-1].copy()}, artifact / WEIGHTS)
    sealed = load(artifact)
    assert np.allclose(sealed.W_dec, true, atol=1e-5)
    assert sealed.remarks == [f"W_dec of {WEIGHTS} is not what {DECODE} decodes with; the latter counts."]
    save_file({}, artifact / WEIGHTS)
    assert np.allclose(load(artifact).W_dec, true, atol=1e-5)


def test_sae_bench_gets_tensors_of_its_own_shape_and_dtype(handed):
    sae = SealedSAE(load(handed))
    x = rows(12).reshape(3, 4, D_IN).to(torch.bfloat16)
    f = sae.encode(x)
    assert (f.shape, f.dtype) == ((3, 4, D_SAE), torch.bfloat16)
    assert sae.decode(f).shape == x.shape
    assert (sae.W_dec.shape, sae.W_enc.shape, sae.b_enc.shape) == ((D_SAE, D_IN), (D_IN, D_SAE), (D_SAE,))
    assert torch.allclose(sae.encode(x[1]).float(), f[1].float(), atol=1e-2)


def test_the_same_artifact_gets_the_same_scores_twice(tmp_path, monkeypatch):
    from saelab.scorer.__main__ import main

    settings = {"d_in": D_IN, "dict_size": D_SAE, "k": K, "eval_rows": 1000}
    monkeypatch.setenv("HARNESS_OVERRIDES", json.dumps(settings))
    monkeypatch.chdir(Path(__file__).parents[1])
    artifact = hand_over(tmp_path / "run", TopK())
    for name in ("one", "two"):
        main(artifact, tmp_path / name)
    assert (tmp_path / "one" / "synthetic.json").read_bytes() == (tmp_path / "two" / "synthetic.json").read_bytes()
    assert (tmp_path / "one" / "facts.json").read_bytes() == (tmp_path / "two" / "facts.json").read_bytes()


def test_the_scorer_of_known_features_does_without_torch(handed, tmp_path):
    import subprocess
    import sys

    code = "import sys; sys.modules['torch'] = None; import runpy; runpy.run_module('saelab.scorer', run_name='__main__')"
    env = {**os.environ, "HARNESS_OVERRIDES": json.dumps({"d_in": D_IN, "dict_size": D_SAE, "k": K, "eval_rows": 500})}
    command = [sys.executable, "-c", code, f"--artifact={handed}", f"--out={tmp_path / 'out'}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "synthetic.json").exists()
