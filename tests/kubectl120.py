"""Debian's kubectl 1.20, unpacked beside whatever kubectl the machine has."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

CACHE = Path.home() / ".cache" / "sublet-tests" / "kubectl-1.20"
_PACKAGE = "kubernetes-client"


def _is_120(binary: Path) -> bool:
    if not binary.exists():
        return False
    done = subprocess.run(
        [str(binary), "version", "--client", "--short"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return "v1.20." in done.stdout


def _fetch(target: Path) -> str:
    """Puts kubectl at ``target``; gives what went wrong, or nothing."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return "this is no Debian"
    said = ""
    with tempfile.TemporaryDirectory(prefix="kubectl-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)  # apt downloads as a user of its own
        for steps in ([], [["apt-get", "update", "-qq"]]):
            for command in (*steps, ["apt-get", "download", "-qq", _PACKAGE]):
                done = subprocess.run(
                    command, cwd=scratch, capture_output=True, text=True, timeout=60, check=False
                )
                said = done.stderr.strip() or said
            if packages := sorted(scratch.glob("*.deb")):
                subprocess.run(["dpkg", "-x", str(packages[0]), str(scratch / "x")], check=True, timeout=60)
                shutil.copy(scratch / "x" / "usr" / "bin" / "kubectl", target)
                return ""
    return f"apt-get download {_PACKAGE}: {said}"


def kubectl_120() -> Path:
    """The binary; skips the test, loudly, where it cannot be had."""
    installed = Path("/usr/bin/kubectl")
    if _is_120(installed):
        return installed
    CACHE.mkdir(parents=True, exist_ok=True)
    binary = CACHE / "kubectl"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        why = "" if binary.exists() else _fetch(binary)
    if why or not _is_120(binary):
        why = why or f"{_PACKAGE} of this distribution is not 1.20"
        warnings.warn(f"Debian's kubectl 1.20 is not tested: {why}", stacklevel=2)
        pytest.skip(f"Debian's kubectl 1.20: {why}")
    return binary


class CommandFailed(Exception):
    """kubectl exited with another code than 0."""


def runner(kubeconfig: Path, home: Path) -> Callable[..., str]:
    """Runs this kubectl on a cluster; gives what it printed."""
    binary = kubectl_120()
    environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(home), "PATH": "/usr/bin:/bin"}

    def run(*arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [str(binary), *arguments], env=environment, input=stdin, capture_output=True, text=True,
            timeout=90, check=False,
        )  # fmt: skip
        if done.returncode:
            raise CommandFailed(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    return run
