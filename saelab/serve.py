"""Serves encode and decode of an SAE that could not be written down as data: `python -m saelab.serve --artifact=FOLDER`.

In the working copy of a run, where a contract allows it: the run's own experiment.py builds its SAE, the weights that were
handed over are loaded into it, and rows that come through a socket in the working directory are answered. Whoever asks runs
nothing of it.
"""

from __future__ import annotations

import argparse
import importlib
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from . import wire
from .artifact_files import WEIGHTS
from .models import torch_device
from .settings import load_settings

MOST = 2**30
"""Numbers in a question."""


def main(artifact: Path) -> None:
    from safetensors.torch import load_file

    settings = load_settings(Path.cwd())
    torch.set_num_threads(settings.threads)
    device = torch_device(settings.device)
    with device:
        sae = importlib.import_module("experiment").build(settings).sae
    sae.load_state_dict(load_file(artifact / WEIGHTS))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(wire.SOCKET)
        server.listen()
        while True:
            end, _ = server.accept()
            with end, suppress(EOFError, ConnectionError), torch.no_grad():
                while True:
                    _answer(end, sae, device)


def _answer(end: socket.socket, sae: Any, device: torch.device) -> None:
    kind, rows = wire.receive(end, MOST)
    function = sae.encode if kind == wire.ENCODE else sae.decode
    found = function(torch.from_numpy(rows.copy()).to(device))
    wire.send(end, kind, found.detach().float().cpu().numpy())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path, required=True)
    main(parser.parse_args().artifact)
