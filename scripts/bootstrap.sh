#!/usr/bin/env bash
# Installs what a target needs on a bare Debian machine. Safe to repeat; quick when nothing is missing.
#   bootstrap.sh python VENV   virtual environment with sublet
#   bootstrap.sh test VENV     and what the tests need
#   bootstrap.sh check VENV    and the linters
#   bootstrap.sh machine       containerd, runc, CNI plug-ins, nftables, busybox, kubectl (root only)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[2m· %s\033[0m\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

apt_updated=
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    if [ -z "$apt_updated" ]; then
        say "apt-get update"
        apt-get update -qq >/dev/null || say "apt-get update failed; trying with the lists that are there"
        apt_updated=1
    fi
    say "apt-get install $*"
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed: apt-get install python3 python3-venv"
}

venv() {
    local venv=$1 python
    if [ ! -x "$venv/bin/pip" ]; then
        python=$(find_python)
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            [ "$(id -u)" = 0 ] || fail "python3-venv is missing: run as root: apt-get install python3-venv"
            apt_install python3-venv
        fi
        say "virtual environment in $venv"
        rm -rf "$venv"
        "$python" -m venv "$venv"
    fi
}

pip_install() {
    local venv=$1
    shift
    say "pip install $*"
    "$venv/bin/pip" install --disable-pip-version-check -q "$@" 2> >(grep -v -i -E '^WARNING' >&2)
}

extra() {
    # Installs an extra unless it was installed from this very pyproject.toml.
    local venv=$1 name=$2 stamp
    stamp="$venv/.sublet-$name"
    venv "$venv"
    if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
        pip_install "$venv" -e ".[$name]"
        touch "$stamp"
    fi
}

machine() {
    [ "$(id -u)" = 0 ] || fail "root is needed to install containerd, runc and the CNI plug-ins"
    command -v apt-get >/dev/null || fail "this is no Debian: install containerd, runc, containernetworking-plugins, nftables, busybox-static and kubectl by hand"
    local missing=()
    command -v containerd >/dev/null || missing+=(containerd)
    command -v runc >/dev/null || missing+=(runc)
    [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || missing+=(containernetworking-plugins)
    command -v nft >/dev/null || missing+=(nftables)
    command -v ip >/dev/null || missing+=(iproute2)
    command -v iptables >/dev/null || missing+=(iptables)
    busybox_static || missing+=(busybox-static)
    command -v kubectl >/dev/null || missing+=(kubernetes-client)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

busybox_static() {
    local path
    path=$(command -v busybox) || return 1
    ! ldd "$path" >/dev/null 2>&1
}

case "${1:-}" in
python)
    venv "$2"
    pip_install "$2" -e .
    ;;
test) extra "$2" test ;;
check) extra "$2" check ;;
machine) machine ;;
*) fail "usage: bootstrap.sh python|test|check VENV, or bootstrap.sh machine" ;;
esac
