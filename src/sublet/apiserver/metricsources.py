"""What ``/metrics`` says beside what is counted: the process, the version, the objects there are, who watches."""

from __future__ import annotations

import contextlib
import platform
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sublet.apiserver.metrics import escaped, heading
from sublet.apiserver.release import document
from sublet.kinds.features import Features

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


def process(started: float) -> Iterator[str]:
    """The usual facts of a process, as far as ``/proc`` says them."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    samples = (
        ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", "counter", usage.ru_utime + usage.ru_stime),
        ("process_max_fds", "Maximum number of open file descriptors.", "gauge", float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])),
        ("process_open_fds", "Number of open file descriptors.", "gauge", float(_open_files())),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", "gauge", float(memory_bytes(1))),
        ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", "gauge", started),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", "gauge", float(memory_bytes(0))),
    )  # fmt: skip
    for name, what, kind, value in samples:
        yield from heading(name, what, kind)
        yield f"{name} {value:.15g}"
    name = "python_info"
    yield from heading(name, "Python platform information.", "gauge")
    yield f'{name}{{implementation="{platform.python_implementation()}",version="{platform.python_version()}"}} 1'


def build_info(minor: str, version: str) -> Iterator[str]:
    names = {
        "buildDate": "build_date", "compiler": "compiler", "gitCommit": "git_commit", "gitTreeState": "git_tree_state",
        "gitVersion": "git_version", "goVersion": "go_version", "major": "major", "minor": "minor", "platform": "platform",
    }  # fmt: skip
    stated = document(minor, version)
    labels = ",".join(f'{label}="{escaped(stated[key])}"' for key, label in names.items())
    what = (
        "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, "
        "build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running."
    )
    yield from heading("kubernetes_build_info", what, "gauge")
    yield f"kubernetes_build_info{{{labels}}} 1"


def features(on: Features) -> Iterator[str]:
    name = "kubernetes_feature_enabled"
    what = "[BETA] This metric records the data about the stage and enablement of a k8s feature."
    yield from heading(name, what, "gauge")
    for gate, enabled in on.gates():
        yield f'{name}{{name="{gate.name}",stage="{gate.stage}"}} {int(enabled)}'


def stored_objects(api: APIServer) -> Iterator[str]:
    """How many objects of each kind there are, and how many watch them."""
    kinds = [(kind, api.registry.cache(kind)) for kind in api.kinds.kinds() if kind.stored]
    name = "apiserver_storage_objects"
    yield from heading(
        name, "[STABLE] Number of stored objects at the time of last check split by kind.", "gauge"
    )
    for kind, cache in kinds:
        yield f'{name}{{resource="{kind.resource.qualified}"}} {len(cache)}'
    name = "apiserver_resource_objects"
    yield from heading(
        name, "[ALPHA] Number of stored objects at the time of last check split by kind.", "gauge"
    )
    for kind, cache in kinds:
        yield f'{name}{{group="{kind.resource.group}",resource="{kind.resource.plural}"}} {len(cache)}'
    name = "apiserver_registered_watchers"
    yield from heading(name, "[ALPHA] Number of currently registered watchers for a given resources", "gauge")
    for kind, cache in kinds:
        if cache.watchers:
            where = kind.resource
            yield f'{name}{{group="{where.group}",resource="{where.plural}",version="{where.version}"}} {cache.watchers}'


def storage(path: Path) -> Iterator[str]:
    """How large the data store's file is, with what has yet to be written into it."""
    size = 0
    for name in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(OSError):
            size += name.stat().st_size
    name_ = "apiserver_storage_size_bytes"
    what = "[STABLE] Size of the storage database file physically allocated in bytes."
    yield from heading(name_, what, "gauge")
    yield f'{name_}{{storage_cluster_id="etcd-0"}} {size}'


def memory_bytes(field: int) -> int:
    """Of this process: field 0 is virtual, 1 resident; 0 where ``/proc`` does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0


def _open_files() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 0
