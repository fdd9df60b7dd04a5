"""Makes the README's pictures from a real campaign: docs/live.png, the view while it runs, and docs/report.png.

    .venv/bin/python docs/pictures.py                        # runs the campaign that `make run` runs, some minutes
    .venv/bin/python docs/pictures.py --campaign DIR         # docs/report.png of a campaign that is there

Needs chromium and the development tools (`./setup.sh dev`). The view is what a terminal of 104 columns shows: `harness run`
writes to a pseudo-terminal, and the screen is kept from the moment at which run `STILL` is executed.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import pyte
from PIL import Image
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME

HERE = Path(__file__).resolve().parent
HARNESS = Path(sys.executable).with_name("harness")
COLUMNS, LINES = 104, 30
STILL = "run 4 of 10"
WIDTH, HEIGHT = 1440, 1140
"""Of the report's picture, in CSS pixels."""


def run_campaign(folder: Path) -> str:
    """Run the shipped idea in `folder`; what the terminal showed while run `STILL` was executed, as SVG."""
    for name in ("experiment.py", "experiment.toml"):
        shutil.copy(HERE.parent / name, folder / name)
    for name in ("saelab", "ideas", "sessions"):
        shutil.copytree(HERE.parent / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    command = [str(HARNESS), "run", "ideas/hierarchy.json", "--max-runs", "10"]
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    still = ""
    while True:
        try:
            output = os.read(master, 65536)
        except OSError:  # the terminal's other side is closed: the command has ended
            break
        stream.feed(output)
        text = "\n".join(screen.display)
        if STILL in text and "execution" in text and "tokens/s" in text:
            still = picture_of(screen)
    if process.wait() or not still:
        sys.exit(f"the campaign ended with {process.returncode}; its last screen:\n" + "\n".join(screen.display))
    return still


def picture_of(screen: pyte.Screen) -> str:
    """The screen as SVG, with its colours."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    last = max((number for number, text in enumerate(screen.display) if text.strip()), default=0)
    for number in range(last + 1):
        cells = [screen.buffer[number][column] for column in range(COLUMNS)]
        console.print(*[_line([Segment(cell.data, _style(cell)) for cell in cells])], end="")
    return console.export_svg(title="harness run ideas/hierarchy.json --max-runs 10", theme=SVG_EXPORT_THEME)


class _line:  # noqa: N801
    """Segments as something that a console prints."""

    def __init__(self, segments: list[Segment]) -> None:
        self.segments = segments

    def __rich_console__(self, console: Console, options: object) -> list[Segment]:
        return [*self.segments, Segment.line()]


def _style(cell: pyte.screens.Char) -> Style:
    def color(name: str) -> str | None:
        if name == "default":
            return None
        return (
            f"#{name}" if len(name) == 6 and all(c in "0123456789abcdef" for c in name) else name.replace("brown", "yellow")
        )

    return Style(color=color(cell.fg), bold=cell.bold, italic=cell.italics, underline=cell.underscore)


def photograph(page: Path, picture: Path, width: int, height: int, scale: float = 1.0) -> None:
    """A PNG of `page` (HTML or SVG) in headless Chromium, with few colours so that it is small."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("chromium is missing; Debian and Ubuntu: apt-get install chromium")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={width},{height}", f"--force-device-scale-factor={scale}", f"--screenshot={picture}"]
    subprocess.run([*command, page.resolve().as_uri()], check=True, capture_output=True, timeout=120)
    Image.open(picture).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(picture, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaign", type=Path, help="a campaign's folder, instead of running one")
    given = parser.parse_args().campaign
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if given is None:
            (folder / "live.svg").write_text(run_campaign(folder), encoding="utf-8")
            tall = 60 + 25 * LINES
            photograph(folder / "live.svg", HERE / "live.png", 1300, tall)
            crop_margins(HERE / "live.png")
        campaign = given or folder / "runs" / "hierarchy"
        page = folder / "report.html"
        subprocess.run([str(HARNESS), "report", str(campaign), "--out", str(page)], check=True)
        photograph(page, HERE / "report.png", WIDTH, HEIGHT)


def crop_margins(picture: Path) -> None:
    """Cut off what is white at the right and below."""
    image = Image.open(picture).convert("RGB")
    box = Image.eval(image.convert("L"), lambda value: 255 - value).getbbox()
    image.crop(box).quantize(96, dither=Image.Dither.NONE).save(picture, optimize=True)


if __name__ == "__main__":
    main()
