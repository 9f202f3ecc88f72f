#!/usr/bin/env bash
# Makes .venv in this project and installs longvid into it, with the versions that passed the tests.
# Does nothing if that was done before. PYTHON names the interpreter (3.11 or newer).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=.venv/.installed
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; then
    [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
    .venv/bin/python -m pip install --quiet --upgrade pip
    # torch first and alone: otherwise a version range would take the newest build
    .venv/bin/python -m pip install --quiet -c constraints.txt torch
    # setuptools has a page of warnings for every editable install of three packages
    PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet -c constraints.txt -e '.[all,dev,s3,torchcodec,zarrs]'
    touch "$stamp"
fi
