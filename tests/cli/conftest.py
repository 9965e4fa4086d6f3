"""A control plane of this process stands for the host cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_commands import Commands

from sublet.testing import RunningControlPlane, running_control_plane


@pytest.fixture(scope="module")
def plane() -> Iterator[RunningControlPlane]:
    """With one hollow node."""
    with running_control_plane(nodes=1) as running:
        yield running


@pytest.fixture
def alone(tmp_path: Path) -> Commands:
    """Commands without any cluster."""
    return Commands(tmp_path)


@pytest.fixture
def commands(tmp_path: Path, plane: RunningControlPlane) -> Commands:
    """Commands on the host cluster, as its administrator."""
    path = tmp_path / "kubeconfig.yaml"
    path.write_text(plane.kubeconfig.read_text())
    return Commands(tmp_path, path)
