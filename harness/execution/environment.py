"""The environment that numbers depend on besides the code: Python, packages, GPU, host, model."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from functools import cache

from ..campaign.campaign import Options
from .executors import cgroup
from .executors.gpu import mps
from .executors.sandbox import available

_NAMED = (
    *("torch", "numpy", "onnxruntime", "transformers", "sae-bench", "sae-lens", "transformer-lens", "datasets"),
    *("scipy", "pandas"),
)

_PROBE = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def describe_environment(python: str, options: Options) -> dict[str, str]:
    """What numbers of the experiment's Python depend on, as far as this machine tells. What is not found is "unknown"."""
    facts = {"host": platform.node(), "system": platform.platform()}
    if options.executor == "local":
        facts["gpu"] = _gpu()
        if daemon := mps(os.environ):
            facts["mps"] = str(daemon)
    else:  # which one it was each record says
        settings = ", ".join(f"{name} {value}" for name, value in options.executor_settings.items())
        facts["executor"] = f"{options.executor} ({settings})" if settings else options.executor
    facts |= {"agent": options.agent} | ({"model": options.model} if options.model else {})
    facts |= {"sandbox": available().sentence, "limits": cgroup.sentence()}
    return facts | _packages(python)


@cache
def _packages(python: str) -> dict[str, str]:
    try:
        probe = subprocess.run([python, "-c", _PROBE, *_NAMED], capture_output=True, text=True, timeout=60, check=True)
        found: dict[str, str] = json.loads(probe.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {"python": "unknown"}
    return found


def _gpu() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.strip().replace("\n", "; ") or "none"
