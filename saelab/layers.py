"""Several layers in one execution: a profile whose setting `layer` is a text such as `"12 19"`.

The experiment runs once for each layer, one after the other in one process, and hands an SAE over each time; nothing in it
has to know. The scorer scores each SAE after its own layer. What is reported is the mean over layers, with each layer's own
numbers among the details.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .settings import LAYER, Settings, load_layers, load_settings

HERE = Path(__file__).parents[1]
"""Where the contract lies."""
OF_ONE = "trained.json"
"""What the training of one layer leaves beside its SAE."""
_SUMMED = ("train_seconds",)
_DETAILS = "eval_result_details"
_OF_A_LAYER = ("hook_layer", "hook_name")


def each(folder: Path) -> list[Settings]:
    """The settings of each execution's part: one for each layer. Raises SettingsError."""
    named = load_layers(folder)
    return [load_settings(folder, os.environ | {LAYER: str(layer)}) for layer in named] or [load_settings(folder)]


def folder_of(layer: int) -> str:
    return f"layer_{layer}"


def now() -> tuple[int, int] | None:
    """Which of several layers this process trains on, as its place and the number of them; None for one layer."""
    named = load_layers(HERE)
    return (named.index(int(os.environ.get(LAYER) or named[0])), len(named)) if named else None


def part(folder: Path) -> Path:
    """Where in the artifact's folder the SAE of this process belongs."""
    here = now()
    return folder / folder_of(load_layers(HERE)[here[0]]) if here else folder


def go_on() -> None:
    """Begin the experiment again for the next layer; returns after the last."""
    place, number = now() or (0, 1)
    if place + 1 < number:
        sys.stdout.flush()
        sys.stderr.flush()
        os.environ[LAYER] = str(load_layers(HERE)[place + 1])
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def joined_results(folder: Path) -> dict[str, Any]:
    """What one layer's training would have left, of all in the artifact's `folder`. Raises ValueError where their settings
    differ."""
    layers = load_layers(HERE)
    found = [json.loads((folder / folder_of(layer) / OF_ONE).read_text(encoding="utf-8")) for layer in layers]
    settings = {"layer": spoken(layers)}
    for name in dict.fromkeys(name for one in found for name in one["settings"] if name != "layer"):
        values = [one["settings"].get(name) for one in found]
        if any(value != values[0] for value in values):
            raise ValueError(f"settings: {name} is {values} after the layers {spoken(layers)}; only the layer may differ")
        settings[name] = values[0]
    metrics = _mean([one["metrics"] for one in found])
    return {"settings": settings, "metrics": metrics | {k: len(found) * metrics[k] for k in _SUMMED if k in metrics}}


def join_scores(out: Path, layers: Sequence[int]) -> None:
    """Make of what the scorer left in `out/layer_N`, for each layer, what it leaves for one; logs stay there."""
    folders = {layer: out / folder_of(layer) for layer in layers}
    left = {layer: {file.stem: _taken(file) for file in sorted(folder.glob("*.json"))} for layer, folder in folders.items()}
    facts = {layer: files.pop("facts") for layer, files in left.items()}
    skipped: dict[str, str] = {}
    for layer, files in left.items():
        for name, why in files.pop("skipped", {"skipped": {}})["skipped"].items():
            skipped.setdefault(name, f"after layer {layer}: {why}")
    for name in dict.fromkeys(name for files in left.values() for name in files):
        if name not in skipped:
            _write(out / f"{name}.json", _joined({layer: files[name] for layer, files in left.items()}))
    if skipped:
        _write(out / "skipped.json", {"skipped": skipped})
    _write(out / "facts.json", _joined_facts(facts))


def spoken(layers: Sequence[int]) -> str:
    """As the setting names them."""
    return " ".join(map(str, layers))


def _joined(results: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """One result of SAEBench of those of several layers."""
    first = next(iter(results.values()))
    metrics = {layer: result["eval_result_metrics"] for layer, result in results.items()}
    details = [{"layer": f"layer {layer}", **dict(_flat(numbers))} for layer, numbers in metrics.items()]
    details += [_of_layer(layer, item) for layer, result in results.items() for item in result.get(_DETAILS) or []]
    of_sae = {name: value for name, value in (first.get("sae_cfg_dict") or {}).items() if name not in _OF_A_LAYER}
    return {
        **{name: value for name, value in first.items() if name != "eval_result_unstructured"},
        **({"sae_cfg_dict": of_sae} if of_sae else {}),
        "eval_result_metrics": _mean(list(metrics.values())),
        _DETAILS: details,
    }


def _of_layer(layer: int, item: Any) -> Any:
    """A detail (one letter's, one data set's numbers) that says its layer, too."""
    if not isinstance(item, dict):
        return item
    named = next((name for name, value in item.items() if isinstance(value, str)), "layer")
    return {
        named: ", ".join(filter(None, [f"layer {layer}", item.get(named)])),
        **{k: v for k, v in item.items() if k != named},
    }


def _joined_facts(facts: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    found = list(facts.values())
    verified = {
        name: value for name, value in found[0]["verified"].items() if all(f["verified"].get(name) == value for f in found)
    }
    rows = sum(each["rows"] for each in found)
    return {
        **found[0],
        "verified": verified | {"layer": spoken(list(facts))},
        "remarks": [f"layer {layer}: {remark}" for layer, each in facts.items() for remark in each["remarks"]],
        "rows": rows,
        "l0": sum(each["l0"] * each["rows"] for each in found) / max(rows, 1),
        "most_in_a_row": max(each["most_in_a_row"] for each in found),
    }


def _mean(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of numbers by name, or by names inside names; None where one of them is missing."""
    means: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in found for name in one):
        values = [one.get(name) for one in found]
        if all(isinstance(value, dict) for value in values):
            means[name] = _mean([value for value in values if isinstance(value, dict)])
        elif all(value == values[0] for value in values):
            means[name] = values[0]
        else:
            numbers = [value for value in values if isinstance(value, int | float)]
            means[name] = sum(numbers) / len(numbers) if len(numbers) == len(found) else None
    return means


def _flat(numbers: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in numbers.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield name, value


def _taken(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    return found


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
