"""A pod's volumes on the node: made before its containers, kept up to date, removed after them.

Each is at ``<pod>/volumes/<plug-in>/<name>`` as kubelet has it, or elsewhere on the node for hostPath and claims.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from sublet.machinery import objects, quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.node import atomicwriter, mounts, poddata
from sublet.node.environment import PodFacts
from sublet.node.podobjects import PodObjects
from sublet.node.projection import VolumeError, payload
from sublet.node.settings import NodeSettings

_PAYLOADS = {
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
}
_IN_MEMORY = ("secret", "projected")


class Volumes:
    def __init__(self, settings: NodeSettings, api: PodObjects) -> None:
        self._settings = settings
        self._api = api

    async def setup(self, pod: Object, facts: PodFacts) -> dict[str, Path]:
        """Makes all volumes that containers mount, or brings them up to date; name → path on the node.

        Raises :class:`VolumeError` (says which volume and why) or ``StatusError``.
        """
        used = {m["name"] for c in poddata.all_containers(pod) for m in c.get("volumeMounts") or []}
        found = {}
        for volume in poddata.spec(pod).get("volumes") or []:
            if volume["name"] in used:
                found[volume["name"]] = await self._one(pod, volume, facts)
        return found

    async def _one(self, pod: Object, volume: dict[str, Any], facts: PodFacts) -> Path:
        name = volume["name"]
        try:
            for kind, plugin in _PAYLOADS.items():
                if volume.get(kind) is not None:
                    files = await payload(pod, volume, facts, self._api)
                    return await asyncio.to_thread(self._write, pod, kind, plugin, name, files)
            if (source := volume.get("emptyDir")) is not None:
                return await asyncio.to_thread(self._empty_dir, pod, name, source)
            if (source := volume.get("hostPath")) is not None:
                return await asyncio.to_thread(host_path, source["path"], source.get("type") or "")
            if (source := volume.get("persistentVolumeClaim")) is not None:
                return await self._claim(pod, source["claimName"])
            if volume.get("ephemeral") is not None:
                return await self._claim(pod, f"{objects.name(pod)}-{name}", own=True)
        except StatusError as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error.message}') from None
        except (OSError, ValueError) as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from None
        kinds = ", ".join(key for key in volume if key != "name") or "none"
        raise VolumeError(f'volume "{name}" is of a type this node cannot mount: {kinds}')

    def _directory(self, pod: Object, plugin: str, name: str) -> Path:
        return self._settings.pod_dir(objects.uid(pod)) / "volumes" / plugin / name

    def _write(
        self, pod: Object, kind: str, plugin: str, name: str, files: dict[str, atomicwriter.File]
    ) -> Path:
        target = self._directory(pod, plugin, name)
        target.mkdir(parents=True, exist_ok=True)
        if kind in _IN_MEMORY and not mounts.is_mount(target):
            mounts.mount_tmpfs(target)
        group = fs_group(pod)
        target.chmod(0o2777 if group is not None else 0o777)
        if group is not None:
            os.chown(target, -1, group)
        atomicwriter.write(target, files, group)
        return target

    def _empty_dir(self, pod: Object, name: str, source: dict[str, Any]) -> Path:
        target = self._directory(pod, "kubernetes.io~empty-dir", name)
        fresh = not target.exists()
        target.mkdir(parents=True, exist_ok=True)
        medium = source.get("medium") or ""
        if medium == "Memory":
            if not mounts.is_mount(target):
                mounts.mount_tmpfs(target, quantity.parse(source.get("sizeLimit") or 0).value())
                fresh = True
        elif medium:
            raise ValueError(f"emptyDir medium {medium!r} is not supported on this node")
        if fresh:
            target.chmod(0o777)
            if (group := fs_group(pod)) is not None:
                own_by_group(target, group)
        return target

    async def _claim(self, pod: Object, name: str, own: bool = False) -> Path:
        namespace = objects.namespace(pod)
        claim = await self._api.get("persistentvolumeclaims", namespace, name)
        if claim is None:
            raise ValueError(f'persistentvolumeclaim "{name}" not found')
        if own and not any(o.get("uid") == objects.uid(pod) for o in objects.owners(claim)):
            raise ValueError(f'PVC "{name}" was not created for the pod')
        volume_name = (claim.get("spec") or {}).get("volumeName")
        if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
            raise ValueError(f'persistentvolumeclaim "{name}" is not bound')
        volume = await self._api.get("persistentvolumes", "", volume_name)
        if volume is None:
            raise ValueError(f'persistentvolume "{volume_name}" not found')
        spec = volume.get("spec") or {}
        if (source := spec.get("local")) is not None:
            path = await asyncio.to_thread(host_path, source["path"], "Directory")
        elif (source := spec.get("hostPath")) is not None:
            path = await asyncio.to_thread(host_path, source["path"], source.get("type") or "")
        else:
            raise ValueError(
                f'persistentvolume "{volume_name}" is neither local nor hostPath, which is what this node mounts'
            )
        if (group := fs_group(pod)) is not None and spec.get("local") is not None:
            await asyncio.to_thread(own_by_group, path, group)
        return path

    async def teardown(self, uid: str) -> None:
        """Unmounts and removes all of a pod's directory. What hostPath and claims name stays."""
        await asyncio.to_thread(remove_directory, self._settings.pod_dir(uid))


def remove_directory(directory: Path) -> None:
    if directory.exists():
        mounts.unmount_below(directory)
        shutil.rmtree(directory)


def fs_group(pod: Object) -> int | None:
    group = (poddata.spec(pod).get("securityContext") or {}).get("fsGroup")
    return None if group is None else int(group)


def own_by_group(directory: Path, group: int) -> None:
    """Gives a tree to a group with read and write, new files inheriting it. Links are not followed."""
    for place in (directory, *directory.rglob("*")):
        if place.is_symlink():
            os.lchown(place, -1, group)
            continue
        os.chown(place, -1, group)
        mode = stat.S_IMODE(place.stat().st_mode) | 0o660
        place.chmod(mode | 0o2110 if place.is_dir() else mode)


_CHECKS = {
    "Directory": (Path.is_dir, "is not a directory"),
    "File": (Path.is_file, "is not a file"),
    "Socket": (Path.is_socket, "is not a socket file"),
    "CharDevice": (Path.is_char_device, "is not a character device"),
    "BlockDevice": (Path.is_block_device, "is not a block device"),
}


def host_path(path: str, kind: str) -> Path:
    """The path, once it is what ``kind`` wants. Raises ``ValueError`` with kubelet's text."""
    place = Path(path)
    if kind == "DirectoryOrCreate" and not place.exists():
        place.mkdir(parents=True, mode=0o755)
    if kind == "FileOrCreate" and not place.exists():
        place.touch(mode=0o644)
    kind = kind.removesuffix("OrCreate")
    if kind in _CHECKS:
        check, text = _CHECKS[kind]
        if not check(place):
            raise ValueError(f"hostPath type check failed: {path} {text}")
    elif kind:
        raise ValueError(f"hostPath type {kind!r} is unknown")
    return place
