"""The plots of the page on evidence: from the seeds that were measured and from the numbers that Benchmarks states."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def plots() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plots", DOCS / "plots.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_measured_seeds_and_the_numbers_of_benchmarks(plots: ModuleType) -> None:
    values, page = plots.absorption(), (DOCS / "evidence.md").read_text()
    mean = sum(values) / len(values)
    deviation = (sum((each - mean) ** 2 for each in values) / (len(values) - 1)) ** 0.5
    assert f"Over {len(values)} seeds" in page and f"{mean:.2f} ± {deviation:.2f} (mean" in page
    assert all(len(found) == 3 for found in plots.power().values())
    for name in ("noise.svg", "power.svg"):
        assert f"]({name})" in page and (DOCS / name).exists()
    drawn = re.sub(r"<[^>]+>", " ", (DOCS / "noise.svg").read_text())
    lower = sum(each < 0 for each in plots.best_of_ten(values)) / 4000
    assert f"{len(values)} seeds" in drawn and f"in {100 * lower:.0f} % of campaigns" in drawn
