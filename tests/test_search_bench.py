"""The benchmark of ways to propose: what it simulates, and what it recommends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import search
from tests.waiting import HANGS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", search.LANDSCAPES)
def test_the_baseline_is_worth_nothing_and_the_best_is_worth_one(name: str) -> None:
    landscape = search.LANDSCAPES[name]
    places = np.random.default_rng(0).random((500, 3))
    assert abs(landscape(search.START)) < 1e-9
    assert landscape(search.BEST) == pytest.approx(1.0)
    assert max(map(landscape, places)) <= 1.0 + 1e-9


def test_what_a_round_executes_and_judges_is_what_the_ledger_allows() -> None:
    found = {name: search.simulate("step", 0.5, name, 6) for name in ("chain", "4 at once")}
    assert found["4 at once"]["rounds"] < found["chain"]["rounds"] / 2
    assert all(0 <= row["regret"] < 0.9 for row in found.values())


def test_the_recommended_width_is_the_largest_that_is_not_worse_than_the_chain() -> None:
    def rows(*regrets: float) -> list[dict[str, Any]]:
        return [
            {"strategy": name, "regret": regret, "error": 0.01}
            for name, regret in zip(search.WIDTHS, (*regrets, 0.0, 0.0), strict=True)
        ]

    assert search.recommended(rows(0.5, 0.5, 0.51, 0.7))[0] == 4
    assert search.recommended(rows(0.5, 0.6, 0.7, 0.8))[0] == 1
    assert search.recommended(rows(0.5, 0.4, 0.4, 0.4))[0] == 8


def test_the_benchmark_of_searches_ends_with_one_json_object() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "bench/search.py", "--quick"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert {row["strategy"] for row in figures["rows"]} == {*search.WIDTHS}
    assert {(row["landscape"], row["noise"]) for row in figures["rows"]} == {
        (name, noise) for name in search.LANDSCAPES for noise in search.NOISES
    }
    assert figures["recommended"] is None
