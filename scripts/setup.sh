#!/usr/bin/env bash
# Makes .venv beside this project and installs longvid into it, with the versions the tests passed with.
# Nothing is done where that was done already. PYTHON names the interpreter (3.11 or newer).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=.venv/.installed
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; then
    [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
    .venv/bin/python -m pip install --quiet --upgrade pip
    # torch first and alone: a range would otherwise be met with the newest build there is
    .venv/bin/python -m pip install --quiet -c constraints.txt torch
    # setuptools has a page of warnings for every editable install of three packages
    PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet -c constraints.txt -e '.[all,dev,s3,torchcodec,zarrs]'
    touch "$stamp"
fi
