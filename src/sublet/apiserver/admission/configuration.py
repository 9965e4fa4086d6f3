"""What plug-ins can be told: the AdmissionConfiguration that ``--admission-control-config-file`` names.

Plug-ins with something to tell: EventRateLimit, PodNodeSelector, PodSecurity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sublet.machinery import codec
from sublet.machinery.codec import DecodeError
from sublet.machinery.settings import ConfigurationError, parse

_GROUP = "apiserver.config.k8s.io/"
_LEVEL = Literal["privileged", "baseline", "restricted"]


@dataclass(frozen=True)
class PodSecurityDefaults:
    """What holds in namespaces whose labels do not say."""

    enforce: _LEVEL = "privileged"
    enforce_version: str = field(default="latest", metadata={"key": "enforce-version"})
    audit: _LEVEL = "privileged"
    audit_version: str = field(default="latest", metadata={"key": "audit-version"})
    warn: _LEVEL = "privileged"
    warn_version: str = field(default="latest", metadata={"key": "warn-version"})

    def labels(self) -> dict[str, str]:
        """As labels of a namespace, without their prefix."""
        return {key.replace("_", "-"): str(value) for key, value in dataclasses.asdict(self).items()}


NO_DEFAULTS = PodSecurityDefaults()


@dataclass(frozen=True)
class PodSecurityExemptions:
    usernames: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PodSecurityConfiguration:
    defaults: PodSecurityDefaults = NO_DEFAULTS
    exemptions: PodSecurityExemptions = PodSecurityExemptions()


@dataclass(frozen=True)
class EventLimit:
    """``qps`` events per second and ``burst`` at once, for each of what ``type`` tells apart."""

    type: Literal["Server", "Namespace", "User", "SourceAndObject"] = "Server"
    qps: int = 0
    burst: int = 0
    cache_size: int = 4096
    """For how many it is kept in mind how much they had."""


@dataclass(frozen=True)
class EventRateLimit:
    limits: tuple[EventLimit, ...] = ()


@dataclass(frozen=True)
class AdmissionConfiguration:
    """Defaults are those without a file."""

    pod_security: PodSecurityConfiguration = PodSecurityConfiguration()
    event_rate_limit: EventRateLimit = EventRateLimit()
    pod_node_selector: Mapping[str, str] = field(default_factory=dict)
    """By namespace the node selectors that its pods may have, and ``clusterDefaultNodeSelector`` of all pods."""


def load(path: Path) -> AdmissionConfiguration:
    """Reads a file and those it names. Raises :class:`ConfigurationError`."""
    document = _read(path)
    if not isinstance(document, dict) or not str(document.get("apiVersion") or "").startswith(_GROUP):
        raise ConfigurationError(f"{path}: must be an AdmissionConfiguration of {_GROUP}v1")
    if document.get("kind") != "AdmissionConfiguration":
        raise ConfigurationError(f"{path}: kind must be AdmissionConfiguration, not {document.get('kind')!r}")
    found: dict[str, Any] = {}
    for index, stated in enumerate(document.get("plugins") or ()):
        where = f"{path}: plugins[{index}]"
        name = str(stated.get("name") or "")
        configuration = stated.get("configuration")
        if configuration is None and stated.get("path"):
            configuration = _read(path.parent / str(stated["path"]))
        found |= _plugin(name, configuration, where)
    return AdmissionConfiguration(**found)


def _plugin(name: str, configuration: Any, where: str) -> dict[str, Any]:
    if not isinstance(configuration, dict):
        raise ConfigurationError(f"{where}: {name or 'a plug-in'} has neither a configuration nor a path")
    stated = {key: value for key, value in configuration.items() if key not in ("apiVersion", "kind")}
    match name:
        case "PodSecurity":
            return {"pod_security": _pod_security(parse(PodSecurityConfiguration, stated, where), where)}
        case "EventRateLimit":
            return {"event_rate_limit": _limits(parse(EventRateLimit, stated, where), where)}
        case "PodNodeSelector":
            selectors = stated.get("podNodeSelectorPluginConfig") or {}
            return {"pod_node_selector": {str(key): str(value) for key, value in selectors.items()}}
    raise ConfigurationError(
        f"{where}: {name!r} has nothing to configure here; EventRateLimit, PodNodeSelector and PodSecurity have"
    )


def _pod_security(stated: PodSecurityConfiguration, where: str) -> PodSecurityConfiguration:
    from sublet.apiserver.admission import podsecurity

    labels = {podsecurity.PREFIX + key: value for key, value in stated.defaults.labels().items()}
    errors = podsecurity.policy_of(labels).errors
    if errors:
        raise ConfigurationError(f"{where}: defaults: {errors[0]}")
    return stated


def _limits(stated: EventRateLimit, where: str) -> EventRateLimit:
    if not stated.limits:
        raise ConfigurationError(f"{where}: limits: at least one is needed")
    for index, limit in enumerate(stated.limits):
        if min(limit.qps, limit.burst, limit.cache_size) <= 0:
            raise ConfigurationError(f"{where}: limits[{index}]: qps, burst and cacheSize must be positive")
    return stated


def _read(path: Path) -> Any:
    try:
        return codec.decode_yaml_file(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except DecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from None
