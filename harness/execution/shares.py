"""What an execution takes of a machine, by its contract and never by how many run at once: numbers depend on threads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..campaign.campaign import Campaign, Options
from ..campaign.protocols import Share

THREADS, DEVICE = "threads", "device"
"""Settings of a profile that say how many threads an execution has, and where it computes."""
OF_LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that tell libraries how many threads to start."""


def share(campaign: Campaign, options: Options, environment: Mapping[str, str], place: Path | None = None) -> Share:
    """Of what is executed in `place`, with this environment."""
    settings, spec, primary = campaign.settings(options), campaign.spec(options.profile), campaign.contract.primary
    step = place.relative_to(campaign.local / "executions").parts if place else ()
    device = str(settings.get(DEVICE, ""))
    return Share(
        holder=f"{campaign.name}: {' '.join(step).replace('.', ' ')}",
        threads=_number(settings.get(THREADS)) or _number(environment.get(OF_LIBRARIES[0])),
        gpu_memory=0 if device == "cpu" else spec.gpu_memory,
        alone=primary is not None and primary.is_time,
    )


def told(campaign: Campaign, options: Options) -> dict[str, str]:
    """Variables that hold libraries to the threads of a profile."""
    threads = _number(campaign.settings(options).get(THREADS))
    return dict.fromkeys(OF_LIBRARIES, str(threads)) if threads else {}


def _number(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isdecimal() and int(text) else None
