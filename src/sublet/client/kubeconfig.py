"""Where a cluster is and how to prove who asks: kubeconfig files and the in-cluster ServiceAccount.

Source: the Config kind of ``client.authentication`` and kubectl's loading rules ($KUBECONFIG is a list of files;
the first file that states a value wins; relative paths are relative to the file they stand in).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from sublet.machinery.status import BadRequest

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LOCK_SECONDS = 5.0
_UNSUPPORTED = {
    "auth-provider": "it is no longer part of Kubernetes; use an exec plugin",
    "username": "passwords are no longer part of Kubernetes; use a token or a client certificate",
    "proxy-url": "proxies are not supported; name an address that can be reached directly",
    "as-groups": "only impersonation of a user is supported",
    "as-uid": "only impersonation of a user is supported",
    "as-user-extra": "only impersonation of a user is supported",
}
"""What would change who asks, or where, if it were ignored."""


_SECTIONS = ("clusters", "users", "contexts")
_PLAIN = re.compile(r"[A-Za-z][\w./+=@-]*(://[\w./+=@:\[\]-]+)?", re.ASCII)
_NO_TEXTS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
"""Texts that YAML takes as themselves, and those among them that it takes as something else."""


class KubeconfigError(BadRequest):
    """A kubeconfig cannot be used; the message names the file or entry and what is wrong with it."""


class ExecPlugin(Struct, frozen=True):
    """A credential program (``users[].user.exec``)."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    provide_cluster_info: bool = False


class ClusterAccess(Struct, frozen=True):
    """One cluster and one user of it. Certificates and keys are PEM bytes; empty values mean: not used."""

    server: str
    """``https://host:port`` with an optional path prefix."""
    ca_data: bytes = b""
    client_cert: bytes = b""
    client_key: bytes = b""
    token: str = ""
    token_file: str = ""
    """Read again from time to time, since tokens rotate; wins over :attr:`token`."""
    insecure: bool = False
    """Do not verify the server's certificate."""
    namespace: str = ""
    """The context's default namespace."""
    tls_server_name: str = ""
    exec_plugin: ExecPlugin | None = None
    impersonate: str = ""


def load(
    path: str | Path | None = None, context: str = "", *, env: Mapping[str, str] | None = None
) -> ClusterAccess:
    """The access that ``context`` (by default the current one) stands for.

    Without ``path``: the files of $KUBECONFIG, else ``~/.kube/config``, else the pod's own ServiceAccount. ``env``
    defaults to the process's environment. Raises :class:`KubeconfigError`.
    """
    environment = os.environ if env is None else env
    config, tried = _merged(path, environment)
    if config is None:
        in_cluster = None if path or context else load_in_cluster(environment)
        if in_cluster is not None:
            return in_cluster
        raise KubeconfigError(
            f"no kubeconfig found at {', '.join(map(str, tried))}: pass --kubeconfig or set KUBECONFIG"
        )
    return _access(config, context, ", ".join(map(str, tried)))


def load_text(text: str, where: str = "the kubeconfig") -> ClusterAccess:
    """The current context of a kubeconfig that holds its certificates itself. Raises :class:`KubeconfigError`."""
    from sublet.machinery import codec

    try:
        config = codec.decode_yaml_file(text)
    except ValueError as error:
        raise KubeconfigError(f"{where} is not valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"{where} is not a Config object")
    return _access({**config, **{key: config.get(key) or [] for key in _SECTIONS}}, "", where)


def load_in_cluster(
    env: Mapping[str, str] | None = None, directory: Path = SERVICE_ACCOUNT_DIR
) -> ClusterAccess | None:
    """The access of the pod this runs in, or None outside of a pod."""
    environment = os.environ if env is None else env
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    token, ca, namespace = directory / "token", directory / "ca.crt", directory / "namespace"
    if not host or not port or not token.exists():
        return None
    return ClusterAccess(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_data=ca.read_bytes() if ca.exists() else b"",
        token_file=str(token),
        namespace=namespace.read_text().strip() if namespace.exists() else "",
    )


def contexts(
    path: str | Path | None = None, *, env: Mapping[str, str] | None = None
) -> tuple[list[str], str]:
    """The names of all contexts and the current one ("" where none is set)."""
    config, _ = _merged(path, os.environ if env is None else env)
    if config is None:
        return [], ""
    return [entry["name"] for entry in config["contexts"]], str(config.get("current-context") or "")


def default_path(env: Mapping[str, str] | None = None) -> Path:
    """The file that commands write to: the first of $KUBECONFIG, else ``~/.kube/config``."""
    environment = os.environ if env is None else env
    return _paths(environment)[0]


def to_config(access: ClusterAccess, name: str) -> dict[str, Any]:
    """A whole kubeconfig with one cluster, user and context, all called ``name``, and it being the current one."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": _cluster(access)}],
        "users": [{"name": name, "user": _user(access)}],
        "contexts": [{"name": name, "context": _context(access, name)}],
        "current-context": name,
    }


def write(path: str | Path, access: ClusterAccess, name: str = "sublet") -> None:
    """Writes a kubeconfig of its own: mode 0600, whole or not at all."""
    _write(Path(path), text(access, name))


def text(access: ClusterAccess, name: str = "sublet") -> str:
    """A kubeconfig as YAML."""
    return "".join(_yaml(to_config(access, name)))


def _yaml(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """What :func:`to_config` makes, as YAML for people.

    Every start of a control plane writes one, and the YAML library takes longer to load than all the rest of that.
    """
    for key, below in value.items():
        if isinstance(below, Mapping) and below:
            yield f"{indent}{key}:\n"
            yield from _yaml(below, indent + "  ")
        elif isinstance(below, list) and below and isinstance(below[0], Mapping):
            yield f"{indent}{key}:\n"
            for item in below:
                first, *rest = _yaml(item, indent + "  ")
                yield f"{indent}- {first.lstrip()}"
                yield from rest
        else:
            plain = isinstance(below, str) and _PLAIN.fullmatch(below) and below.lower() not in _NO_TEXTS
            yield f"{indent}{key}: {below if plain else json.dumps(below, ensure_ascii=False)}\n"


def merge(path: str | Path, access: ClusterAccess, name: str, *, make_current: bool = True) -> None:
    """Adds or replaces the cluster, user and context ``name`` in a user's file; everything else stays."""
    path = Path(path)
    added = to_config(access, name)

    def change(config: dict[str, Any]) -> None:
        for section in ("clusters", "users", "contexts"):
            rest = [entry for entry in config[section] if entry.get("name") != name]
            config[section] = [*rest, *added[section]]
        if make_current or not config.get("current-context"):
            config["current-context"] = name

    _change(path, change)


def remove(path: str | Path, name: str, *, current: str = "") -> bool:
    """Takes the context ``name`` out, and its cluster and user unless another context uses them.

    Where it was the current context, ``current`` becomes it if there is such a context, else none is. Returns
    whether the context was there.
    """
    path = Path(path)
    if not path.exists():
        return False
    found = False

    def change(config: dict[str, Any]) -> None:
        nonlocal found
        gone = [entry for entry in config["contexts"] if entry.get("name") == name]
        found = bool(gone)
        config["contexts"] = [entry for entry in config["contexts"] if entry.get("name") != name]
        for section, key in (("clusters", "cluster"), ("users", "user")):
            used = {(entry.get("context") or {}).get(key) for entry in config["contexts"]}
            mine = {(entry.get("context") or {}).get(key) for entry in gone} - used
            config[section] = [entry for entry in config[section] if entry.get("name") not in mine]
        if found and config.get("current-context") == name:
            names = {entry.get("name") for entry in config["contexts"]}
            config["current-context"] = current if current in names else ""

    _change(path, change)
    return found


def use(path: str | Path, name: str) -> None:
    """Makes ``name`` the current context."""

    def change(config: dict[str, Any]) -> None:
        config["current-context"] = name

    _change(Path(path), change)


def _paths(env: Mapping[str, str]) -> list[Path]:
    listed = [Path(part) for part in env.get("KUBECONFIG", "").split(os.pathsep) if part]
    return listed or [Path(env.get("HOME") or str(Path.home())) / ".kube" / "config"]


def _merged(path: str | Path | None, env: Mapping[str, str]) -> tuple[dict[str, Any] | None, list[Path]]:
    """All files as one configuration (None where no file exists), and the files that were looked at."""
    files = [Path(path)] if path else _paths(env)
    configs = []
    for file in files:
        if file.exists():
            configs.append(_read(file))
        elif path:
            raise KubeconfigError(f"kubeconfig {file} does not exist")
    if not configs:
        return None, files
    whole: dict[str, Any] = {"current-context": "", "clusters": [], "users": [], "contexts": []}
    for config in configs:
        whole["current-context"] = whole["current-context"] or config.get("current-context") or ""
        for section in ("clusters", "users", "contexts"):
            known = {entry["name"] for entry in whole[section]}
            whole[section] += [entry for entry in config[section] if entry["name"] not in known]
    return whole, files


def _read(file: Path) -> dict[str, Any]:
    """One file with its paths made absolute and its three lists present."""
    config = _parse(file)
    for section, inner in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        for entry in config[section]:
            if not isinstance(entry, dict) or not entry.get("name"):
                raise KubeconfigError(f"kubeconfig {file}: every entry of {section} needs a name")
            values = entry.get(inner) or {}
            for key in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
                if values.get(key):
                    values[key] = str(file.parent / values[key])
            command = (values.get("exec") or {}).get("command", "")
            if os.sep in command:
                values["exec"]["command"] = str(file.parent / command)
    return config


def _parse(file: Path) -> dict[str, Any]:
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        config = yaml.load(file.read_bytes(), loader)
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise KubeconfigError(f"kubeconfig {file} is not valid YAML: {told}") from error
    if config is None:
        config = {}
    if not isinstance(config, dict):
        raise KubeconfigError(f"kubeconfig {file} is not a Config object")
    for section in ("clusters", "users", "contexts"):
        config[section] = config.get(section) or []
        if not isinstance(config[section], list):
            raise KubeconfigError(f"kubeconfig {file}: {section} must be a list")
    return config


def _named(entries: Sequence[dict[str, Any]], name: str, inner: str, where: str) -> dict[str, Any]:
    for entry in entries:
        if entry.get("name") == name:
            return entry.get(inner) or {}
    known = ", ".join(str(entry.get("name")) for entry in entries) or "none"
    raise KubeconfigError(f'kubeconfig {where} has no {inner} "{name}" (known: {known})')


def _access(config: dict[str, Any], context: str, where: str) -> ClusterAccess:
    name = context or config.get("current-context")
    if not name:
        raise KubeconfigError(f"kubeconfig {where} has no current-context: name one with --context")
    chosen = _named(config["contexts"], name, "context", where)
    cluster = _named(config["clusters"], chosen.get("cluster", ""), "cluster", where)
    user = _named(config["users"], chosen["user"], "user", where) if chosen.get("user") else {}
    if not cluster.get("server"):
        raise KubeconfigError(f'kubeconfig {where}: cluster "{chosen.get("cluster")}" has no server')
    for entry, values in (
        (f'cluster "{chosen.get("cluster")}"', cluster),
        (f'user "{chosen.get("user")}"', user),
    ):
        for key, why in _UNSUPPORTED.items():
            if values.get(key):
                raise KubeconfigError(f"kubeconfig {where}: {entry} states {key}: {why}")
    return ClusterAccess(
        server=str(cluster["server"]).rstrip("/"),
        ca_data=_bytes(cluster, "certificate-authority", where),
        client_cert=_bytes(user, "client-certificate", where),
        client_key=_bytes(user, "client-key", where),
        token=str(user.get("token") or ""),
        token_file=str(user.get("tokenFile") or ""),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=str(chosen.get("namespace") or ""),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        exec_plugin=_exec(user.get("exec"), where),
        impersonate=str(user.get("as") or ""),
    )


def _exec(stated: dict[str, Any] | None, where: str) -> ExecPlugin | None:
    if not stated:
        return None
    if not stated.get("command"):
        raise KubeconfigError(f"kubeconfig {where}: an exec plugin has no command")
    return ExecPlugin(
        command=stated["command"],
        args=tuple(map(str, stated.get("args") or ())),
        env={entry["name"]: str(entry.get("value", "")) for entry in stated.get("env") or ()},
        api_version=stated.get("apiVersion") or "client.authentication.k8s.io/v1",
        install_hint=stated.get("installHint") or "",
        provide_cluster_info=bool(stated.get("provideClusterInfo")),
    )


def _bytes(values: dict[str, Any], key: str, where: str) -> bytes:
    if data := values.get(f"{key}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise KubeconfigError(f"kubeconfig {where}: {key}-data is not base64") from error
    if file := values.get(key):
        try:
            return Path(file).read_bytes()
        except OSError as error:
            raise KubeconfigError(
                f"kubeconfig {where}: {key} {file} cannot be read: {error.strerror}"
            ) from error
    return b""


def material(values: Mapping[str, Any], key: str, file: Path) -> bytes:
    """The certificate or key of an entry of ``file``, stated in it or in a file beside it; empty where there is none.

    Raises :class:`KubeconfigError`.
    """
    stated = dict(values)
    if stated.get(key):
        stated[key] = str(file.parent / str(stated[key]))
    return _bytes(stated, key, str(file))


def _cluster(access: ClusterAccess) -> dict[str, Any]:
    cluster: dict[str, Any] = {"server": access.server}
    if access.ca_data:
        cluster["certificate-authority-data"] = base64.b64encode(access.ca_data).decode()
    if access.insecure:
        cluster["insecure-skip-tls-verify"] = True
    if access.tls_server_name:
        cluster["tls-server-name"] = access.tls_server_name
    return cluster


def _user(access: ClusterAccess) -> dict[str, Any]:
    user: dict[str, Any] = {}
    if access.client_cert:
        user["client-certificate-data"] = base64.b64encode(access.client_cert).decode()
    if access.client_key:
        user["client-key-data"] = base64.b64encode(access.client_key).decode()
    if access.token:
        user["token"] = access.token
    if access.token_file:
        user["tokenFile"] = access.token_file
    if access.impersonate:
        user["as"] = access.impersonate
    if plugin := access.exec_plugin:
        user["exec"] = {
            "apiVersion": plugin.api_version,
            "command": plugin.command,
            "args": list(plugin.args),
            "env": [{"name": key, "value": value} for key, value in plugin.env.items()],
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": plugin.provide_cluster_info,
        }
    return user


def _context(access: ClusterAccess, name: str) -> dict[str, Any]:
    context = {"cluster": name, "user": name}
    if access.namespace:
        context["namespace"] = access.namespace
    return context


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if path.exists() and path.stat().st_size:
            config = _parse(path)
        else:
            config = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
        change(config)
        _write(path, yaml.safe_dump(config, default_flow_style=False, sort_keys=False))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds ``FILE.lock``, the lock that kubectl takes too."""
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise KubeconfigError(
                    f"kubeconfig {path} is locked: if no other program writes it, remove {lock}"
                ) from None
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    target = path.resolve() if path.is_symlink() else path
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def with_server(access: ClusterAccess, server: str) -> ClusterAccess:
    """The same user at another address of the same cluster."""
    return replace(access, server=server.rstrip("/"))
