"""sublet's own image, assembled offline from the running interpreter.

What goes in: the interpreter and its standard library, sublet and the distributions it depends on, and the shared
libraries all of these link to. Nothing is downloaded and no container engine is needed. The archive is an OCI image
layout and a ``docker save`` archive at once, so ``ctr images import``, ``docker load`` and ``podman load`` take it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import py_compile
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sublet import __version__

_HOME = "usr/local"
_LIBRARY = f"{_HOME}/lib/python{sys.version_info.major}.{sys.version_info.minor}"
_PACKAGES = f"{_LIBRARY}/site-packages"
_LEFT_OUT_OF_STDLIB = frozenset(
    {"test", "tests", "idlelib", "turtledemo", "tkinter", "ensurepip", "lib2to3", "site-packages",
     "dist-packages", "__pycache__", "pydoc_data", "config-3.11-x86_64-linux-gnu"}
)  # fmt: skip
_LEFT_OUT_OF_PACKAGES = frozenset({"__pycache__", "tests", "test"})


class ImageError(RuntimeError):
    """The image cannot be assembled here; ``str()`` says what is missing."""


def image_name(registry: str = "", repository: str = "sublet", tag: str = "") -> str:
    """``docker.io/library/sublet:0.1.0``: the full name under which a container runtime knows the image."""
    return f"{registry or 'docker.io/library'}/{repository}:{tag or __version__}"


@dataclass(frozen=True)
class BuiltImage:
    path: Path
    name: str
    digest: str
    """sha256 of the image's configuration: equal contents, equal digest."""
    size: int


def build(
    output: Path, name: str = "", *, progress: Callable[[str], None] = lambda _step: None
) -> BuiltImage:
    """Writes the archive. Raises :class:`ImageError`, or ``OSError`` when it cannot be written."""
    name = name or image_name()
    with tempfile.TemporaryDirectory(prefix="sublet-image-") as scratch:
        progress("collecting the interpreter and its libraries")
        base = _Layer(Path(scratch) / "base.tar")
        _add_interpreter(base)
        distributions = list(_distributions())
        for distribution in distributions:
            _add_distribution(base, distribution)
        _add_shared_libraries(base)
        _add_system_files(base)
        progress("collecting sublet")
        own = _Layer(Path(scratch) / "sublet.tar")
        _add_sublet(own)
        progress("writing the archive")
        digest = _write_archive(output, name, [base.finish(), own.finish()])
    return BuiltImage(output, name, digest, output.stat().st_size)


def fingerprint() -> str:
    """Changes whenever the image would: sublet's own files, and what it depends on (by name and version)."""
    import sublet

    digest = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode())
    for distribution in _distributions():
        digest.update(f"{distribution.metadata['Name']} {distribution.version}\n".encode())
    root = Path(sublet.__file__).parent
    for path, relative in _walk(root, frozenset({"__pycache__"})):
        digest.update(relative.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Layer:
    """One layer: a tar with every file once, fixed times and owners, so equal contents give equal bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar = tarfile.open(path, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - closed by finish()
        self._seen: set[str] = set()
        self.binaries: list[Path] = []
        """Sources of the executables and extension modules added so far."""

    def directory(self, target: str, mode: int = 0o755) -> None:
        parts = target.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            name = "/".join(parts[:depth])
            if name not in self._seen:
                self._seen.add(name)
                info = tarfile.TarInfo(name)
                info.type, info.mode = tarfile.DIRTYPE, mode if depth == len(parts) else 0o755
                self._tar.addfile(info)

    def data(self, target: str, content: bytes, mode: int = 0o644) -> None:
        if target in self._seen:
            return
        self.directory(str(PurePosixPath(target).parent))
        self._seen.add(target)
        info = tarfile.TarInfo(target)
        info.size, info.mode = len(content), mode
        self._tar.addfile(info, io.BytesIO(content))

    def link(self, target: str, to: str) -> None:
        if target in self._seen:
            return
        self.directory(str(PurePosixPath(target).parent))
        self._seen.add(target)
        info = tarfile.TarInfo(target)
        info.type, info.linkname = tarfile.SYMTYPE, to
        self._tar.addfile(info)

    def file(self, source: Path, target: str) -> None:
        """A file's contents; Python sources come with their compiled form, which a read-only root cannot cache."""
        content = source.read_bytes()
        executable = os.access(source, os.X_OK) or content[:4] == b"\x7fELF"
        self.data(target, content, 0o755 if executable else 0o644)
        if content[:4] == b"\x7fELF":
            self.binaries.append(source)
        if target.endswith(".py"):
            self._compiled(source, target)

    def _compiled(self, source: Path, target: str) -> None:
        cached = importlib.util.cache_from_source("/" + target).lstrip("/")
        with tempfile.NamedTemporaryFile(suffix=".pyc") as made:
            try:
                py_compile.compile(
                    str(source),
                    made.name,
                    "/" + target,
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
            except (py_compile.PyCompileError, SyntaxError, ValueError):
                return  # templates and files for other Pythons; they are never imported
            self.data(cached, Path(made.name).read_bytes())

    def finish(self) -> Path:
        self._tar.close()
        return self._path


def _walk(root: Path, left_out: frozenset[str]) -> Iterator[tuple[Path, str]]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in left_out)
        for name in sorted(names):
            path = Path(folder) / name
            if path.suffix not in (".pyc", ".a", ".pyo") and path.is_file():
                yield path, str(path.relative_to(root))


def _add_interpreter(layer: _Layer) -> None:
    executable = Path(os.path.realpath(sys.executable))
    layer.file(executable, f"{_HOME}/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    layer.link(f"{_HOME}/bin/python3", f"python{sys.version_info.major}.{sys.version_info.minor}")
    roots = dict.fromkeys(Path(sysconfig.get_path(key)) for key in ("stdlib", "platstdlib"))
    if not any((root / "os.py").exists() for root in roots):
        raise ImageError(f"no standard library found at {', '.join(map(str, roots))}")
    for root in roots:
        for path, relative in _walk(root, _LEFT_OUT_OF_STDLIB):
            layer.file(path, f"{_LIBRARY}/{relative}")


def _distributions() -> Iterator[importlib.metadata.Distribution]:
    """sublet's dependencies, transitively, without extras; sublet itself is added apart."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = ["sublet"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise ImageError(
                f"{name}, which sublet needs, is not installed in {sys.prefix}; "
                "install sublet with pip and build the image from that environment"
            ) from None
        found[name] = distribution
        for requirement in distribution.requires or ():
            if _wanted(requirement):
                waiting.append(re.split(r"[\s<>=!~;\[(]", requirement, maxsplit=1)[0])
    del found["sublet"]
    yield from (found[name] for name in sorted(found))


def _wanted(requirement: str) -> bool:
    """Whether a requirement's marker holds here (extras do not)."""
    _, _, marker = requirement.partition(";")
    if not marker.strip():
        return True
    return bool(_marker_class()(marker.strip()).evaluate({"extra": ""}))


def _marker_class() -> Any:
    """packaging's, from wherever it is: it comes with pip where it is not installed."""
    for name in ("packaging.markers", "pip._vendor.packaging.markers"):
        try:
            return importlib.import_module(name).Marker
        except ImportError:
            continue
    raise ImageError("neither packaging nor pip is installed here; install pip into this environment")


def _add_distribution(layer: _Layer, distribution: importlib.metadata.Distribution) -> None:
    for entry in sorted(distribution.files or (), key=str):
        relative = str(entry)
        parts = relative.split("/")
        if relative.startswith("..") or relative.endswith(".pyc") or _LEFT_OUT_OF_PACKAGES & set(parts):
            continue
        path = Path(str(distribution.locate_file(entry)))
        if path.is_file():
            layer.file(path, f"{_PACKAGES}/{relative}")


def _add_sublet(layer: _Layer) -> None:
    import sublet

    root = Path(sublet.__file__).parent
    for path, relative in _walk(root, frozenset({"__pycache__"})):
        layer.file(path, f"{_PACKAGES}/sublet/{relative}")
    start = f"#!/{_HOME}/bin/python3 -EsS\nimport sys\nsys.path.insert(0, '/{_PACKAGES}')\n"
    start += "from sublet.cli.main import main\nmain()\n"
    layer.data(f"{_HOME}/bin/sublet", start.encode(), 0o755)


def _add_shared_libraries(layer: _Layer) -> None:
    """What the executables and extension modules link to, at the paths the loader will look at."""
    added: set[str] = set()
    environment = {**os.environ, "LC_ALL": "C"}
    batch = [str(path) for path in layer.binaries]
    for start in range(0, len(batch), 50):
        listed = subprocess.run(
            ["ldd", *batch[start : start + 50]], capture_output=True, text=True, env=environment, check=False
        )
        for line in listed.stdout.splitlines():
            match = re.search(r"(?:=> )?(/\S+) \(0x", line)
            if match and "site-packages" not in match[1]:
                added.add(match[1])
    if not added:
        raise ImageError("ldd found no shared libraries; is libc-bin installed?")
    for name in _name_service_libraries(added):
        added.add(name)
    for path in sorted(added):
        layer.file(Path(os.path.realpath(path)), path.lstrip("/"))


def _name_service_libraries(added: Iterable[str]) -> Iterator[str]:
    """The libraries that libc loads by name to resolve hosts (part of libc since glibc 2.34)."""
    libc = next((path for path in added if "libc.so" in path), "")
    for name in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"):
        candidate = Path(libc).parent / name
        if libc and candidate.exists():
            yield str(candidate)


def _add_system_files(layer: _Layer) -> None:
    layer.directory("tmp", 0o1777)
    layer.directory("data")
    layer.directory("var/lib/sublet")
    layer.data(
        "etc/passwd", b"root:x:0:0:root:/root:/sbin/nologin\nsublet:x:1001:1001::/data:/sbin/nologin\n"
    )
    layer.data("etc/group", b"root:x:0:\nsublet:x:1001:\n")
    layer.data("etc/nsswitch.conf", b"hosts: files dns\n")
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if bundle.exists():
        layer.file(bundle, "etc/ssl/certs/ca-certificates.crt")
    if not Path("/lib64").exists():
        return
    # Where /lib and /lib64 are links into /usr, the loader's own path must exist in the image as well.
    loader = Path("/lib64/ld-linux-x86-64.so.2")
    if loader.exists():
        layer.file(Path(os.path.realpath(loader)), "lib64/ld-linux-x86-64.so.2")


def _configuration(diff_ids: list[str]) -> dict[str, Any]:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return {
        "architecture": machine,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": [f"/{_HOME}/bin/sublet"],
            "Env": [
                f"PATH=/{_HOME}/bin:/usr/bin:/bin",
                f"PYTHONHOME=/{_HOME}",
                "PYTHONDONTWRITEBYTECODE=1",
                "PYTHONUNBUFFERED=1",
                "HOME=/data",
            ],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "sublet",
                "org.opencontainers.image.version": __version__,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "sublet image build"} for _ in diff_ids],
    }


def _write_archive(output: Path, name: str, layers: list[Path]) -> str:
    """Writes beside the target and renames, so that nobody reads half an archive. Returns the config's digest."""
    digests = [_digest(path) for path in layers]
    config = _json(_configuration([f"sha256:{d}" for d in digests]))
    config_digest = hashlib.sha256(config).hexdigest()
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config_digest, len(config)),
            "layers": [
                _descriptor("application/vnd.oci.image.layer.v1.tar", d, path.stat().st_size)
                for d, path in zip(digests, layers, strict=True)
            ],
        }
    )
    manifest_digest = hashlib.sha256(manifest).hexdigest()
    described = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest_digest, len(manifest))
    described["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = _json({"schemaVersion": 2, "manifests": [described]})
    docker = _json(
        [
            {
                "Config": f"blobs/sha256/{config_digest}",
                "RepoTags": [name.removeprefix("docker.io/library/")],
                "Layers": [f"blobs/sha256/{d}" for d in digests],
            }
        ]
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with tarfile.open(scratch, "w", format=tarfile.GNU_FORMAT) as tar:
            _add_bytes(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            _add_bytes(tar, "index.json", index)
            _add_bytes(tar, "manifest.json", docker)
            _add_bytes(tar, f"blobs/sha256/{config_digest}", config)
            _add_bytes(tar, f"blobs/sha256/{manifest_digest}", manifest)
            for digest, path in zip(digests, layers, strict=True):
                info = tarfile.TarInfo(f"blobs/sha256/{digest}")
                info.size, info.mode = path.stat().st_size, 0o644
                with path.open("rb") as layer:
                    tar.addfile(info, layer)
        scratch.replace(output)
    finally:
        scratch.unlink(missing_ok=True)
    return config_digest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
