#!/usr/bin/env bash
# Builds the documentation into build/site, warnings as errors, checks every link and anchor, and opens each page in
# Chromium where there is one; with --serve it is served on http://127.0.0.1:8000.
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
.venv/bin/python -m pytest -q -m slow tests/docs/test_in_a_browser.py
