"""sublet's own image, assembled from the interpreter that runs the test."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from sublet import __version__
from sublet.tenants import image


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "sublet.tar"
    image.build(path, "docker.io/library/sublet:test")
    return path


def test_the_archive_is_an_oci_layout_and_a_docker_archive(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    assert "oci-layout" in names
    assert manifest[0]["RepoTags"] == ["sublet:test"]
    assert set(manifest[0]["Layers"]) <= names
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "docker.io/library/sublet:test"


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_the_program_runs_from_the_image_alone(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        for layer in json.load(tar.extractfile("manifest.json"))[0]["Layers"]:  # type: ignore[arg-type]
            with tarfile.open(fileobj=tar.extractfile(layer)) as content:
                content.extractall(tmp_path, filter="tar")
    ran = subprocess.run(
        ["chroot", str(tmp_path), "/usr/local/bin/sublet", "version", "-o", "name"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.strip() == __version__
