"""Real clients against a real control plane with hollow nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sublet.testing import RunningControlPlane, running_control_plane

Kubectl = Callable[..., str]


class CommandFailed(Exception):
    """A client exited with another code than 0."""

    def __init__(self, code: int, output: str) -> None:
        super().__init__(f"exit code {code}: {output}")


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What ``condition`` returns once it is true of it."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to pass in time")
        time.sleep(0.1)


@pytest.fixture(scope="module")
def plane() -> Iterator[RunningControlPlane]:
    with running_control_plane(nodes=2) as running:
        yield running


def client_environment(kubeconfig: Path, home: Path) -> dict[str, str]:
    return {
        "KUBECONFIG": str(kubeconfig),
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "KUBE_EDITOR": "true",
    }


def run_client(
    binary: str, arguments: tuple[str, ...], environment: dict[str, str], stdin: str | None = None
) -> str:
    ran = subprocess.run(
        [binary, *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ran.returncode:
        raise CommandFailed(ran.returncode, ran.stdout + ran.stderr)
    return ran.stdout


@pytest.fixture(scope="module")
def kubectl(plane: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Runs the kubectl on PATH; returns its standard output."""
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.skip("kubectl is not on PATH (scripts/bootstrap.sh machine installs it)")
    environment = client_environment(plane.kubeconfig, tmp_path_factory.mktemp("home"))

    def run(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
        return run_client(binary, arguments, {**environment, **(env or {})}, stdin)

    return run
