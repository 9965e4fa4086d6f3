"""What is mounted into a container: its volumes (also parts of them), ``/etc/hosts``, the termination message."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.node import crimessages as m
from sublet.node import mounts, poddata
from sublet.node.environment import ConfigError, expand
from sublet.node.poddata import Container
from sublet.node.settings import NodeSettings

_PROPAGATION = {
    None: m.PROPAGATION_PRIVATE,
    "": m.PROPAGATION_PRIVATE,
    "None": m.PROPAGATION_PRIVATE,
    "HostToContainer": m.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": m.PROPAGATION_BIDIRECTIONAL,
}
_HEADER = "# Kubernetes-managed hosts file"


def container_mounts(
    pod: Object,
    container: Container,
    volumes: Mapping[str, Path],
    environment: Mapping[str, str],
    settings: NodeSettings,
    ips: tuple[str, ...],
    rng: random.Random,
) -> list[m.Mount]:
    """All mounts, files made as needed. Raises :class:`ConfigError` or ``OSError``."""
    found = []
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount["name"] not in volumes:
            raise ConfigError(f'volume "{mount["name"]}" of container {container["name"]} is not in the pod')
        path = volumes[mount["name"]]
        part = mount.get("subPath") or expand(mount.get("subPathExpr") or "", environment)
        if part:
            path = sub_path(pod, container, mount["name"], index, path, part, settings)
        target = mount["mountPath"]
        found.append(
            m.Mount(
                target if target.startswith("/") else f"/{target}",
                str(path),
                bool(mount.get("readOnly")),
                propagation=_PROPAGATION.get(mount.get("mountPropagation"), m.PROPAGATION_PRIVATE),
            )
        )
    directory = settings.pod_dir(objects.uid(pod))
    if not any(mount.container_path.rstrip("/") == "/etc/hosts" for mount in found):
        found.append(m.Mount("/etc/hosts", str(write_hosts(pod, settings, ips))))
    message = container.get("terminationMessagePath") or "/dev/termination-log"
    file = directory / "containers" / container["name"] / f"{rng.getrandbits(32):08x}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.chmod(0o666)
    found.append(m.Mount(message, str(file)))
    return found


def sub_path(
    pod: Object, container: Container, volume: str, index: int, path: Path, part: str, settings: NodeSettings
) -> Path:
    """A bind mount of one part of a volume, made if it is not there; links cannot lead out of the volume."""
    if part.startswith("/") or ".." in Path(part).parts:
        raise ConfigError(f'subPath "{part}" must be relative and not climb')
    parent = settings.pod_dir(objects.uid(pod)) / "volume-subpaths" / volume / container["name"]
    target: Path = parent / str(index)
    if mounts.is_mount(target):
        mounts.unmount(target)
    try:
        if not (path / part).exists():
            mode = (path.stat().st_mode & 0o7777) | 0o700
            mounts.make_directories_beneath(path, part, mode)
        descriptor = mounts.open_beneath(path, part)
    except mounts.EscapesError as error:
        raise ConfigError(f"failed to prepare subPath for volumeMount: {error.strerror}") from None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        source = f"/proc/self/fd/{descriptor}"
        if os.path.isdir(source):  # noqa: PTH112  # follows the descriptor, as the mount does
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        mounts.bind(source, target)
    finally:
        os.close(descriptor)
    return target


def write_hosts(pod: Object, settings: NodeSettings, ips: tuple[str, ...]) -> Path:
    """The pod's ``etc-hosts``; written anew with each container, as addresses may have changed."""
    file = settings.pod_dir(objects.uid(pod)) / "etc-hosts"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(hosts_text(pod, settings, ips))
    file.chmod(0o644)
    return file


def hosts_text(pod: Object, settings: NodeSettings, ips: tuple[str, ...]) -> str:
    spec = poddata.spec(pod)
    if spec.get("hostNetwork"):
        text = f"{_HEADER} (host network).\n{Path('/etc/hosts').read_text()}"
    else:
        lines = [f"{_HEADER}.", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback",
                 "fe00::0\tip6-localnet", "fe00::0\tip6-mcastprefix", "fe00::1\tip6-allnodes",
                 "fe00::2\tip6-allrouters"]  # fmt: skip
        name, domain = poddata.hostname(pod), poddata.host_domain(pod, settings.cluster_domain)
        names = f"{name}.{domain}\t{name}" if domain else name
        lines += [f"{ip}\t{names}" for ip in ips]
        text = "\n".join(lines) + "\n"
    aliases = [alias for alias in spec.get("hostAliases") or [] if alias.get("ip")]
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(
            f"{alias['ip']}\t" + "\t".join(alias.get("hostnames") or []) + "\n" for alias in aliases
        )
    return text
