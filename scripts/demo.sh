#!/usr/bin/env bash
# Both stages on generated videos: sets up .venv, then runs `longvid demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
exec .venv/bin/longvid demo "$@"
