#!/usr/bin/env bash
# make quickstart: from a bare machine to a tenant cluster that runs containers. Safe to repeat and to interrupt.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}

if [ ! -e "$VENV/.sublet-installed" ] || [ pyproject.toml -nt "$VENV/.sublet-installed" ]; then
    scripts/bootstrap.sh python "$VENV"
    touch "$VENV/.sublet-installed"
fi
if [ "$(id -u)" = 0 ]; then
    scripts/bootstrap.sh machine || echo "going on without containers" >&2
fi
exec "$VENV/bin/python" scripts/quickstart.py "$@"
