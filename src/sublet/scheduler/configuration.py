"""A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) as the scheduler's settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field

from sublet.machinery import codec, settings
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import BadRequest
from sublet.scheduler.catalog import profiles
from sublet.scheduler.framework import Profile


class SchedulerSettings(Struct, frozen=True):
    profiles: Mapping[str, Profile] = field(default_factory=profiles)
    """By ``spec.schedulerName``."""
    percentage_of_nodes: int = 0
    """How many of a large cluster's nodes are enough to choose from; 0: by the cluster's size."""
    initial_backoff: float = 1.0
    max_backoff: float = 10.0
    """Seconds a pod waits after its first and after many failed attempts."""
    devices: bool = True
    """Whether the API has claims for devices (resource.k8s.io/v1, since 1.34)."""
    extended_resources: bool = True
    """Whether device classes serve extended resources (since 1.36)."""
    nominates: bool = True
    """Whether a pod says which node it is meant for while its volumes and devices are prepared (since 1.35)."""


class _Document(Struct, frozen=True):
    api_version: Literal["kubescheduler.config.k8s.io/v1"]
    kind: Literal["KubeSchedulerConfiguration"]
    profiles: tuple[dict[str, Any], ...] = ()
    percentage_of_nodes_to_score: int = 0
    pod_initial_backoff_seconds: float = 1.0
    pod_max_backoff_seconds: float = 10.0
    extenders: tuple[dict[str, Any], ...] = ()
    # These tune upstream's process; nothing they ask for is missing here.
    parallelism: int = 16
    client_connection: dict[str, Any] = field(default_factory=dict)
    leader_election: dict[str, Any] = field(default_factory=dict)
    enable_profiling: bool = False
    enable_contention_profiling: bool = False
    delay_cache_until_active: bool = False


def load(path: Path) -> SchedulerSettings:
    """Raises :class:`ConfigurationError` naming the file and what is wrong in it."""
    try:
        return parse(codec.decode_yaml_file(path.read_bytes()))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def parse(document: Any) -> SchedulerSettings:
    """Raises :class:`ConfigurationError` for what is not there, by name."""
    for key in ("apiVersion", "kind"):
        if isinstance(document, Mapping) and key not in document:
            raise ConfigurationError(f"{key} is missing: a KubeSchedulerConfiguration is expected")
    stated = settings.parse(_Document, document)
    if stated.extenders:
        raise ConfigurationError("extenders: there are none in this scheduler; use its plug-ins")
    initial, longest = stated.pod_initial_backoff_seconds, stated.pod_max_backoff_seconds
    if initial <= 0 or longest < initial:
        raise ConfigurationError(
            "podInitialBackoffSeconds must be greater than 0, podMaxBackoffSeconds no less than that"
        )
    share = stated.percentage_of_nodes_to_score
    if not 0 <= share <= 100:
        raise ConfigurationError(f"percentageOfNodesToScore must be 0 to 100, not {share}")
    try:
        return SchedulerSettings(profiles(stated.profiles), share, initial, longest)
    except BadRequest as error:
        raise ConfigurationError(error.message) from None
