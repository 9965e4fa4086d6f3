"""Volumes: files that change all at once, host paths, parts of volumes that cannot lead out."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sublet.node import atomicwriter, mounts
from sublet.node.atomicwriter import File
from sublet.node.projection import common_user
from sublet.node.volumes import host_path


def files(**contents: str) -> dict[str, File]:
    return {name: File(text.encode(), 0o640) for name, text in contents.items()}


def read(target: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in target.iterdir() if not p.name.startswith("..")}


def test_files_have_content_and_mode_behind_links(tmp_path: Path) -> None:
    assert atomicwriter.write(tmp_path, {"a": File(b"1", 0o600), "d/b": File(b"2", 0o444)})
    assert (tmp_path / "a").read_text() == "1"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "d" / "b").read_text() == "2"
    assert str((tmp_path / "a").readlink()) == "..data/a"


def test_unchanged_files_are_left_alone(tmp_path: Path) -> None:
    atomicwriter.write(tmp_path, files(a="1"))
    before = (tmp_path / "..data").readlink()
    assert not atomicwriter.write(tmp_path, files(a="1"))
    assert (tmp_path / "..data").readlink() == before


def test_a_change_replaces_the_whole_set_and_removes_what_is_gone(tmp_path: Path) -> None:
    atomicwriter.write(tmp_path, files(a="1", b="2"))
    assert atomicwriter.write(tmp_path, files(a="3", c="4"))
    assert read(tmp_path) == {"a": "3", "c": "4"}
    assert len([p for p in tmp_path.iterdir() if p.is_dir() and not p.is_symlink()]) == 1


def test_a_directory_that_is_open_keeps_the_old_set(tmp_path: Path) -> None:
    """Readers that opened a file before the change still read it whole."""
    atomicwriter.write(tmp_path, files(a="old"))
    with (tmp_path / "a").open() as open_file:
        atomicwriter.write(tmp_path, files(a="new"))
        assert open_file.read() == "old"


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", "..data"])
def test_paths_that_climb_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="cannot be the path"):
        atomicwriter.write(tmp_path, {path: File(b"", 0o644)})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change groups")
def test_a_group_may_read_every_file(tmp_path: Path) -> None:
    atomicwriter.write(tmp_path, {"a": File(b"1", 0o600)}, group=2000)
    found = (tmp_path / "a").stat()
    assert (found.st_gid, found.st_mode & 0o777) == (2000, 0o640)


def test_host_path_types_are_checked(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert host_path(str(tmp_path / "new"), "DirectoryOrCreate").is_dir()
    assert host_path(str(tmp_path / "g"), "FileOrCreate").is_file()
    assert host_path(str(tmp_path / "nothing"), "") == tmp_path / "nothing"
    for kind in ("Directory", "Socket", "BlockDevice", "CharDevice", "DirectoryOrCreate"):
        with pytest.raises(ValueError, match="hostPath type check failed"):
            host_path(str(tmp_path / "f"), kind)
    with pytest.raises(ValueError, match="unknown"):
        host_path(str(tmp_path), "Pipe")


def test_a_socket_passes_as_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        assert host_path(str(tmp_path / "s"), "Socket")


def test_links_within_a_volume_may_be_followed_but_not_out_of_it(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    (volume / "d").mkdir(parents=True)
    (volume / "in").symlink_to("d")
    (volume / "out").symlink_to("/etc")
    (volume / "up").symlink_to("../other")
    (tmp_path / "other").mkdir()
    os.close(mounts.open_beneath(volume, "in"))
    for name in ("out", "up", "out/passwd"):
        with pytest.raises(mounts.EscapesError):
            mounts.open_beneath(volume, name)


def test_directories_are_made_within_the_volume_only(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    volume.mkdir()
    mounts.make_directories_beneath(volume, "a/b/c", 0o750)
    assert (volume / "a/b/c").is_dir()
    (volume / "out").symlink_to(tmp_path)
    with pytest.raises(mounts.EscapesError):
        mounts.make_directories_beneath(volume, "out/x", 0o750)
    assert not (tmp_path / "x").exists()


def test_the_common_user_is_the_one_all_containers_have() -> None:
    one = {"name": "a", "securityContext": {"runAsUser": 5}}
    assert common_user({"spec": {"containers": [one, one]}}) == 5
    assert common_user({"spec": {"containers": [one, {"name": "b"}]}}) is None
    assert (
        common_user({"spec": {"containers": [one, {"name": "b"}], "securityContext": {"runAsUser": 5}}}) == 5
    )
