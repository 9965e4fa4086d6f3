"""What the file of ImagePolicyWebhook states, with upstream's bounds and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from sublet.machinery import durations
from sublet.machinery.settings import ConfigurationError, parse

_MILLI = 1e-3


class ImagePolicy(Struct, frozen=True):
    """Seconds, once :func:`load` has gone over them."""

    kube_config_file: str = field(default="", name="kubeConfigFile")
    allow_ttl: float = field(default=0.0, name="allowTTL")
    deny_ttl: float = field(default=0.0, name="denyTTL")
    retry_backoff: float = 0.0
    default_allow: bool = False


class _File(Struct, frozen=True):
    image_policy: ImagePolicy = ImagePolicy()


def load(stated: Any, where: str, directory: Path) -> ImagePolicy:
    """From ``{imagePolicy: ...}``; paths are relative to ``directory``. Raises :class:`ConfigurationError`."""
    found = parse(_File, stated, where).image_policy
    if not found.kube_config_file:
        raise ConfigurationError(f"{where}: imagePolicy.kubeConfigFile must be set")
    return replace(
        found,
        kube_config_file=str(directory / found.kube_config_file),
        retry_backoff=_seconds(found.retry_backoff, _MILLI, 0.5, ("1ns", 1e-9), ("5m0s", 300.0)),
        allow_ttl=_seconds(found.allow_ttl, 1.0, 300.0, ("1s", 1.0), ("30m0s", 1800.0)),
        deny_ttl=_seconds(found.deny_ttl, 1.0, 30.0, ("1s", 1.0), ("30m0s", 1800.0)),
    )


def _seconds(
    stated: float, unit: float, default: float, least: tuple[str, float], most: tuple[str, float]
) -> float:
    """0 stands for the default, -1 for none at all; the bounds are a text and seconds each."""
    if stated == -1:
        return 0.0
    if stated == 0:
        return default
    seconds = stated * unit
    if seconds <= least[1] or seconds > most[1]:
        raise ConfigurationError(
            f"valid value is between {least[0]} and {most[0]}, got {durations.text(round(seconds * 1e9))}"
        )
    return seconds
