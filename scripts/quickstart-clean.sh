#!/usr/bin/env bash
# make quickstart-clean: removes what quickstart made, wherever it was interrupted.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
if [ ! -x "$VENV/bin/sublet" ]; then
    echo "nothing to remove: $VENV has no sublet"
    exit 0
fi
exec "$VENV/bin/python" scripts/quickstart.py --clean
