"""Folders in which a program had a free hand: looked through, made readable and removed, whatever it left there.

No link is followed, and nothing here rests on recursion: folders thousands deep would end that, as they end shutil.rmtree.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .text import decoded


def files_below(folder: Path) -> list[Path]:
    """The regular files, in order, without those that `walk` does not come to."""
    return walk(folder)[0]


def walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """The regular files, in order, and the folders that cannot be looked into, because their path is too long."""
    found: list[Path] = []
    closed: list[Path] = []
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        found.append(Path(entry.path))
        except OSError:
            closed.append(place)
    return sorted(found), closed


def make_writable(*folders: Path) -> None:
    """Let the owner read and write again what somebody took the permissions of."""
    # A link that is named to chmod is followed, though none that it meets below.
    own = [str(folder) for folder in folders if not folder.is_symlink() and not _is_open(folder)]
    if own:
        subprocess.run(["chmod", "-R", "u+rwX", "--", *own], check=False, stderr=subprocess.DEVNULL)


def _is_open(folder: Path) -> bool:
    """Whether the owner can read and write all that is in it."""
    waiting = [str(folder)]
    try:
        while waiting:
            place = waiting.pop()
            if os.lstat(place).st_mode & stat.S_IRWXU != stat.S_IRWXU:
                return False
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif ~entry.stat(follow_symlinks=False).st_mode & (stat.S_IRUSR | stat.S_IWUSR):
                        return False
    except OSError:
        return False
    return True


def remove(*folders: Path) -> str:
    """Remove folders with all that is in them. Returns why one could not be, "" where all are gone."""
    there = [folder for folder in folders if os.path.lexists(folder)]
    if not there or not _rm(there):
        return ""
    make_writable(*there)
    return _rm(there)


def _rm(folders: list[Path]) -> str:
    try:
        for folder in folders:
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
            else:
                folder.unlink()
        return ""
    except (OSError, RecursionError):
        folders = [folder for folder in folders if os.path.lexists(folder)]
    # rm goes down from one open folder to the next, so neither the depth nor the length of a path stops it.
    done = subprocess.run(["rm", "-rf", "--", *map(str, folders)], check=False, stderr=subprocess.PIPE)
    return done.stderr.decode(errors="replace").strip()[:500] if done.returncode else ""


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their paths below `folder`."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def sync(path: Path) -> None:
    """Have all that was written to the file system of `path`, by whatever process, on the disk before returning.

    One call for a step with its hundred files, folders and objects of git; an fsync of each takes a hundred times as long.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _flush(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    import ctypes  # here, because commands that only read never come here

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # not Linux
        os.sync()
    elif syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside and rename: a reader sees the old file or the new one, also after a power cut. Text becomes UTF-8."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
        file.flush()
        # Before the rename: the new name could reach the disk first, and after a power cut stand for an empty file.
        os.fsync(file.fileno())
    beside.replace(path)


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a file that somebody wrote, its lines ending with a line feed alone, whatever editor saved it. Raises
    OSError, and UnicodeDecodeError for what is no text."""
    return decoded(path.read_bytes(), errors).replace("\r\n", "\n").replace("\r", "\n")


def read_bounded(path: Path, limit: int, *, from_end: bool = False) -> tuple[bytes, bool]:
    """At most `limit` bytes of a regular file, and whether there were more. An experiment can leave a pipe or a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return b"", False
    with os.fdopen(descriptor, "rb") as file:
        # Asked of what is open: by now the path may name something else.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return b"", False
        cut = status.st_size > limit
        if cut and from_end:
            file.seek(status.st_size - limit)
        return file.read(limit), cut


def read_end(path: Path, characters: int) -> str:
    """The end of an output, whatever bytes it has; "" where there is none."""
    return read_bounded(path, 4 * characters, from_end=True)[0].decode(errors="replace")[-characters:]
