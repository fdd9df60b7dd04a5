#!/usr/bin/env bash
# Makes the virtual environment of this checkout, .venv, or what is missing of it.
#
#   ./setup.sh run    the harness and what the synthetic profile needs
#   ./setup.sh sae    the same and what language models and SAEBench need
#   ./setup.sh dev    the same as sae and the development tools
#
# A call that finds everything done takes no time. One that was interrupted is begun again by the next.
set -euo pipefail
cd "$(dirname "$0")"
unset PYTHONHOME PYTHONPATH

fail() {
    echo "set-up: $*" >&2
    exit 1
}

case "${1-}" in
run | dev | sae) ;;
*) fail "expected run, dev or sae, found '${1-}'" ;;
esac

# aider works with 3.11 and 3.12, SAEBench too: these first.
find_python() {
    local name
    for name in python3 python3.12 python3.11; do
        "$name" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo "$name" && return
    done
    for name in python3 python3.13 python3.14; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null && echo "$name" && return
    done
    fail "needs Python 3.11 or newer; python3 is $(python3 --version 2>&1 || true). Install python3.12, or python3.11, so that it is on PATH."
}

# The place is part of it: the commands in .venv/bin hold its absolute path.
state="$(pwd) $(cat constraints.txt pyproject.toml setup.sh | cksum)"

is_usable() {
    [ ! -e .venv/unfinished ] && .venv/bin/python -c '' 2>/dev/null &&
        { [ ! -e .venv/place ] || [ "$(cat .venv/place)" = "$(pwd)" ]; }
}

is_done() {
    is_usable && [ "$(cat ".venv/done-$1" 2>/dev/null)" = "$state" ]
}

is_done "$1" && exit
# Two set-ups at once would take each other's half-made environment for an interrupted one.
if command -v flock >/dev/null; then
    exec 9<setup.sh
    flock -n 9 || { echo "set-up: waiting for another one in this checkout" && flock 9; }
fi
is_done "$1" && exit

install() {
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt "$@" ||
        fail "pip failed (above). Check the network and the free disk space, then call it again."
}

need() {
    is_done "$1" && return
    # While this file is there, what is in .venv may be half of something.
    touch .venv/unfinished
    "install_$1"
    echo "$state" >".venv/done-$1"
    rm .venv/unfinished
}

install_run() {
    echo "set-up: the harness and what it needs (about half a minute)"
    install hatchling editables
    install --no-build-isolation -e .
    echo "set-up: torch, numpy and ONNX for the synthetic profile (about a minute; more where torch comes with CUDA)"
    install --no-build-isolation -e '.[synthetic]'
}

install_sae() {
    echo "set-up: transformers, sae-bench and what they need (3 GB, about five minutes)"
    install --no-build-isolation -e '.[sae]'
    # sae-bench asks for torchvision, whose build for CUDA makes `import transformers` fail beside a torch without it.
    if .venv/bin/python -c 'import sys, torch; sys.exit(torch.version.cuda is not None)'; then
        .venv/bin/python -m pip uninstall -qq -y torchvision
        echo "set-up: torchvision removed again: it does not fit this torch, and nothing here needs it"
    fi
}

install_dev() {
    echo "set-up: development tools (about half a minute)"
    install --no-build-isolation -e '.[dev]'
}

if ! is_usable; then
    python="$(find_python)"
    echo "set-up: a virtual environment in .venv ($("$python" --version))"
    rm -rf .venv
    mkdir .venv
    touch .venv/unfinished
    pwd >.venv/place
    "$python" -m venv .venv ||
        fail "$python cannot make a virtual environment. Debian and Ubuntu: install the package python3-venv."
    rm .venv/unfinished
fi
need run
[ "$1" = run ] || need sae
[ "$1" != dev ] || need dev
