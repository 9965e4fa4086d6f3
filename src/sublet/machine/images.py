"""Images made of what Debian has, for machines where no registry answers: pause and busybox.

Both are docker archives (``manifest.json``, a configuration, one layer) around ``busybox-static``; the same input
gives the same bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from sublet.machinery.status import ServiceUnavailable

PAUSE_IMAGE = "registry.k8s.io/pause:3.10"
BUSYBOX_IMAGE = "docker.io/library/busybox:latest"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIRECTORIES = ("bin", "etc", "home", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var", "var/www", "dev")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\nnobody:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def busybox_binary() -> Path:
    """The static busybox of this machine. Raises :class:`ServiceUnavailable`."""
    for name in ("/bin/busybox", "/usr/bin/busybox", shutil.which("busybox") or ""):
        path = Path(name)
        if name and path.exists() and b"ld-linux" not in path.read_bytes()[:8192]:
            return path
    raise ServiceUnavailable("no static busybox here; install it: apt-get install busybox-static")


def applets(binary: Path) -> list[str]:
    done = subprocess.run([str(binary), "--list"], capture_output=True, text=True, timeout=20, check=True)
    return [name for name in done.stdout.split() if name != "busybox"]


def layer(files: dict[str, bytes], links: dict[str, str], directories: Sequence[str]) -> bytes:
    """An uncompressed layer: directories, executable or plain files by name, and symbolic links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in directories:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(entry, io.BytesIO(content))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(entry)
    return out.getvalue()


def archive(images: dict[str, tuple[bytes, dict[str, object]]]) -> bytes:
    """A docker archive of one-layer images: name to (layer, ``config`` of the image such as Cmd, Env)."""
    import platform

    machine = platform.machine()
    manifest, blobs = [], {}
    for name, (content, config) in images.items():
        digest = hashlib.sha256(content).hexdigest()
        described = {
            "architecture": _ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "sublet"}],
        }
        encoded = json.dumps(described, sort_keys=True).encode()
        config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
        blobs[config_name], blobs[f"{digest}/layer.tar"] = encoded, content
        manifest.append({"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]})
    blobs["manifest.json"] = json.dumps(manifest).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in blobs.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def base_images(pause: str = PAUSE_IMAGE, busybox: str = BUSYBOX_IMAGE) -> bytes:
    """The archive of a pause and a busybox image made of this machine's busybox."""
    binary = busybox_binary()
    program = binary.read_bytes()
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    env = [f"{key}={value}" for key, value in path.items()]
    files = {"bin/busybox": program, **{name: text.encode() for name, text in _FILES.items()}}
    links = {f"bin/{name}": "busybox" for name in applets(binary)}
    links |= {"sbin": "bin", "usr/sbin": "bin", "usr/bin/env": "../../bin/busybox"}
    full = layer(files, links, _DIRECTORIES)
    small = layer({"bin/busybox": program}, {"bin/sh": "busybox"}, ("bin", "dev", "proc", "sys"))
    # The shell reaps what is orphaned where containers share the sandbox's process namespace.
    pausing = ["/bin/sh", "-c", "trap 'exit 0' TERM INT; busybox sleep infinity & wait"]
    return archive(
        {
            pause: (small, {"Entrypoint": pausing, "Env": env}),
            busybox: (full, {"Cmd": ["sh"], "Env": env, "WorkingDir": "/"}),
        }
    )


async def import_archive(socket: Path, path: Path, snapshotter: str) -> None:
    """Imports an archive into the containerd at ``socket`` for CRI. Raises :class:`ServiceUnavailable`."""
    command = ["ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "import",
               "--snapshotter", snapshotter, str(path)]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(300):
        output, _ = await process.communicate()
    if process.returncode:
        raise ServiceUnavailable(
            f"cannot import the images in {path}: {output.decode(errors='replace').strip()}"
        )
