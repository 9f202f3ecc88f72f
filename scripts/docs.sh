#!/usr/bin/env bash
# Builds the documentation into build/site, warnings as errors, and checks every link and anchor; with --serve it is
# served on http://127.0.0.1:8000.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
.venv/bin/python -m pip install --quiet -c constraints.txt -e '.[docs]'
export NO_MKDOCS_2_WARNING=1
if [ "${1:-}" = --serve ]; then
    exec .venv/bin/mkdocs serve
fi
.venv/bin/mkdocs build --strict
.venv/bin/python scripts/links.py build/site
