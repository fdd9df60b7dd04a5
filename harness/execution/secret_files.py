"""What is a person's own: where keys commonly lie, by default and where the environment puts them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_IN_HOME = (
    ".ssh", ".gnupg", ".aws", ".azure", ".docker", ".kube", ".netrc", ".git-credentials", ".pypirc", ".kaggle", ".env",
    ".aider.conf.yml", ".aider", ".claude", ".claude.json", ".codex", ".gemini", ".huggingface", ".bash_history",
    ".zsh_history",
)  # fmt: skip
_IN_CONFIG = ("gcloud", "gh", "git/credentials", "harness")
_IN_DATA = ("opencode",)
_HUB = ("token", "stored_tokens")
_NAMED = (
    "NETRC", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AZURE_CONFIG_DIR", "CLOUDSDK_CONFIG",
    "GOOGLE_APPLICATION_CREDENTIALS", "GNUPGHOME", "KAGGLE_CONFIG_DIR", "DOCKER_CONFIG", "KUBECONFIG", "CLAUDE_CONFIG_DIR",
    "CODEX_HOME",
)  # fmt: skip
"""Variables that name a file or a folder with keys."""


def secret_paths(person: Mapping[str, str]) -> list[Path]:
    """Files and folders, there or not, of a person with this environment."""
    home = Path.home()

    def base(name: str, default: str) -> set[Path]:
        return {home / default, *([Path(person[name])] if person.get(name) else [])}

    hubs = {folder / "huggingface" for folder in base("XDG_CACHE_HOME", ".cache")} | base("HF_HOME", ".cache/huggingface")
    if person.get("HF_TOKEN_PATH"):
        hubs.add(Path(person["HF_TOKEN_PATH"]).parent)
    return [
        *(home / name for name in _IN_HOME),
        *(folder / name for folder in base("XDG_CONFIG_HOME", ".config") for name in _IN_CONFIG),
        *(folder / name for folder in base("XDG_DATA_HOME", ".local/share") for name in _IN_DATA),
        *(folder / name for folder in hubs for name in _HUB),
        *(Path(person[name]).expanduser() for name in ("HF_TOKEN_PATH", *_NAMED) if person.get(name)),
    ]
