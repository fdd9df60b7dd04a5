"""What is a person's own: where keys commonly lie, by default and where the environment puts them, and files with one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..campaign.files import read_bounded

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


_CODE = frozenset({".py", ".ipynb", ".md", ".rst", ".c", ".cc", ".cpp", ".cu", ".h", ".hpp", ".js", ".ts", ".rs", ".go"})
"""Files that name keys without holding one, as a rule."""
_NOT_A_PROJECTS = frozenset({".git", "node_modules", "site-packages", "__pycache__"})
_MOST_FILES = 2_000
_LARGEST = 64_000
_SECRET = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----"
    rb"|^[ \t]*(?:export[ \t]+)?[A-Za-z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)[ \t]*=[ \t]*"
    rb"['\"]?(?=[^\s'\"]*[0-9])[A-Za-z0-9_.+/=-]{16,}['\"]?[ \t]*\r?$",
    re.MULTILINE,
)


def files_with_secrets(folder: Path, deep: bool) -> list[Path]:
    """Regular files in a folder, and below it where `deep`, that hold a private key or a line KEY=secret. Of a large folder
    the upper ones are looked at. No link is followed, and no Python environment or package looked into."""
    found: list[Path] = []
    left, folders = _MOST_FILES, [folder]
    for place in folders:
        try:
            members = sorted(os.scandir(place), key=lambda each: each.name)
        except OSError:
            continue
        if any(each.name in ("pyvenv.cfg", "conda-meta") for each in members):
            continue
        if deep:
            folders += [Path(each) for each in members if _is_a_projects(each)]
        files = [each for each in members if each.is_file(follow_symlinks=False) and Path(each).suffix not in _CODE][:left]
        left -= len(files)
        found += [Path(each) for each in files if _holds_a_secret(each)]
    return found


def _is_a_projects(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and entry.name not in _NOT_A_PROJECTS


def _holds_a_secret(entry: os.DirEntry[str]) -> bool:
    small = entry.stat(follow_symlinks=False).st_size <= _LARGEST
    return small and _SECRET.search(read_bounded(Path(entry), _LARGEST)[0]) is not None


def secrets_around(folders: Iterable[Path], shown: Iterable[str]) -> list[Path]:
    """Files with secrets in an experiment's folder, the first of `folders`, and at the top of the others. What the contract
    shows of the experiment is no secret."""
    first, *others = folders
    told = {first / name for name in shown}
    found = [*files_with_secrets(first, True), *(path for folder in others for path in files_with_secrets(folder, False))]
    return [path for path in dict.fromkeys(found) if told.isdisjoint([path, *path.parents])]
