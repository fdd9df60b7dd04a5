"""Which variables of a person's environment an experiment gets: harmless ones by name, so that no key is among them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

from ..campaign.contract import LOOKS_LIKE_A_KEY, Contract
from .visible import LIBRARY_CACHES

PASSED_ON = (
    *("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "TOKENIZERS_PARALLELISM"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "ROCM_PATH", "GPU_DEVICE_ORDINAL"),
    *(spelt for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for spelt in (name, name.lower())),
)
PASSED_ON_PREFIXES = (
    *("LC_", "OMP_", "MKL_", "OPENBLAS_", "NVIDIA_VISIBLE", "CUBLAS_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "TRITON_"),
    *("HF_", "TRANSFORMERS_", "CUDA_", "HIP_", "ROCR_", "HSA_", "NCCL_", "RCCL_", "GLOO_"),
)

_ITS_OWN = ("HOME", "TMPDIR", "PWD", "XDG_CACHE_HOME", "_")
"""An execution has others of these; `_` is a shell's last command, and in code the name of what is not used."""


def is_passed_on(name: str, value: str) -> bool:
    """Whether an experiment gets this variable of the person's unasked. No key, nor a proxy's password."""
    known = name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    return known and not LOOKS_LIKE_A_KEY.search(name) and not ("proxy" in name.lower() and "@" in value)


def not_passed_on(contract: Contract, person: Mapping[str, str], asked: Container[str]) -> list[str]:
    """Variables that are set, and that an experiment whose code names those `asked`, or its libraries, look for in vain."""
    told = experiment_environment(contract, dict(person))
    looked_for = {name for name in person if name in asked or name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)}
    return sorted(name for name in looked_for if name not in told and name not in _ITS_OWN)


def experiment_environment(contract: Contract, person: dict[str, str]) -> dict[str, str]:
    """The environment that an experiment gets of the person's: named variables only, so no key is among them."""
    passed = {name: value for name, value in person.items() if is_passed_on(name, value) or name in contract.environment}
    cache = Path(person.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    # HOME is a new folder for each execution, so the libraries would look for their caches in it and find nothing.
    for name, folder in LIBRARY_CACHES.items():
        passed[name] = person.get(name) or str(cache / Path(folder).name)
    # PYTHONHASHSEED: otherwise the order of sets would differ between executions, a noise that no seed accounts for.
    return passed | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
