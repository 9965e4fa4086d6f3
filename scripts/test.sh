#!/usr/bin/env bash
# Runs every test: the container tests wherever root and containerd can be had, and says loudly where not.
set -uo pipefail
cd "$(dirname "$0")/.."
venv=$1
export PATH="$PWD/$venv/bin:$PATH"

if [ "$(id -u)" = 0 ] && scripts/bootstrap.sh machine; then
    containers=()
else
    printf '\033[33m%s\033[0m\n' \
        "WARNING: the container tests are skipped: they need root and containerd, runc, CNI plug-ins (make test as root installs them)" >&2
    containers=(-m "not containers")
fi

export SUBLET_SEED="${SUBLET_SEED:-$RANDOM}"
echo "seed of the crash and load tests: SUBLET_SEED=$SUBLET_SEED"
# Everything that shares no machine-wide state runs on both cores; real containers run alone.
"$venv/bin/python" -m pytest -q -n 2 --dist loadfile --ignore tests/e2e -m "not containers" ${PYTEST_ARGS:-}
status=$?
if [ ${#containers[@]} = 0 ]; then
    "$venv/bin/python" -m pytest -q --timeout=600 tests/e2e ${PYTEST_ARGS:-} || status=1
fi
exit $status
