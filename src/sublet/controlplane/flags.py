"""kube-apiserver's flags, where they mean something here: of ``sublet run`` and of ``apiServer.extraArgs``.

A field is a flag, with dashes for its underscores. A new flag is a field here and what it means in :func:`applied`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from sublet.apiserver.admission.configuration import AdmissionConfiguration
from sublet.apiserver.admission.configuration import load as load_admission
from sublet.apiserver.audit.log import AuditSettings
from sublet.apiserver.audit.sinks import BatchSettings, LogSettings
from sublet.controlplane import absentflags, accessflags, flagparser, servingflags
from sublet.controlplane.accessflags import AccessFlags
from sublet.controlplane.config import DEFAULT_MINOR
from sublet.controlplane.featuregates import stated_gates
from sublet.controlplane.flagparser import DURATION
from sublet.controlplane.servingflags import ServingFlags
from sublet.machinery.settings import ConfigurationError


@dataclass(frozen=True)
class APIServerFlags(AccessFlags, ServingFlags):
    """Defaults are upstream's. Durations are seconds."""

    admission_control_config_file: str = ""
    audit_policy_file: str = ""
    audit_log_path: str = ""
    audit_log_maxage: int = 0
    audit_log_maxbackup: int = 0
    audit_log_maxsize: int = 100
    audit_log_format: Literal["json"] = "json"
    audit_webhook_config_file: str = ""
    audit_webhook_batch_max_size: int = 400
    audit_webhook_batch_max_wait: float = field(default=30.0, metadata=DURATION)
    audit_webhook_batch_buffer_size: int = 10_000
    audit_webhook_initial_backoff: float = field(default=10.0, metadata=DURATION)
    default_not_ready_toleration_seconds: int = 300
    default_unreachable_toleration_seconds: int = 300
    disable_admission_plugins: tuple[str, ...] = ()
    enable_admission_plugins: tuple[str, ...] = ()
    enable_priority_and_fairness: bool = True
    encryption_provider_config: str = ""
    encryption_provider_config_automatic_reload: bool = False
    event_ttl: float = field(default=3600.0, metadata=DURATION)
    feature_gates: tuple[str, ...] = ()
    max_mutating_requests_inflight: int = 200
    max_requests_inflight: int = 400
    request_timeout: float = field(default=60.0, metadata=DURATION)
    shutdown_delay_duration: float = field(default=0.0, metadata=DURATION)
    shutdown_send_retry_after: bool = False
    shutdown_watch_termination_grace_period: float = field(default=0.0, metadata=DURATION)
    service_node_port_range: str = "30000-32767"


def parse_flags(arguments: Sequence[str]) -> APIServerFlags:
    """See :func:`flagparser.parse`."""
    return flagparser.parse(APIServerFlags, arguments, "the API server", absentflags.ABSENT)


def shown(flags: APIServerFlags, **actual: str) -> dict[str, str]:
    """For ``/flagz``; ``actual`` is what counts of flags that something else stated."""
    return flagparser.shown(flags) | {name.replace("_", "-"): value for name, value in actual.items()}


def applied(flags: APIServerFlags, minor: str = DEFAULT_MINOR, *, files: bool = True) -> dict[str, Any]:
    """The fields of :class:`~sublet.apiserver.settings.APIServerSettings` that the flags state.

    ``authentication`` are those of its own settings (see :func:`accessflags.authentication`).

    Raises :class:`ConfigurationError` for values that cannot be together, or name what there is not. ``files`` False: the
    files they name are on another machine and are not looked at.
    """
    return {
        "audit": _audit(flags),
        "authentication": accessflags.authentication(flags, files=files),
        "authorization": accessflags.authorizers(flags, files=files),
        "admission": _admission_configuration(flags),
        "disabled_admission": flags.disable_admission_plugins,
        "enabled_admission": _enabled_admission(flags),
        "encryption_config": _encryption(flags),
        "encryption_reload": flags.encryption_provider_config_automatic_reload,
        "event_ttl": flags.event_ttl,
        "feature_gates": stated_gates(flags.feature_gates, minor),
        "priority_and_fairness": flags.enable_priority_and_fairness,
        "max_reading": flags.max_requests_inflight,
        "max_writing": flags.max_mutating_requests_inflight,
        "request_timeout": _above_zero("--request-timeout", flags.request_timeout),
        "node_ports": _port_range(flags.service_node_port_range),
        **servingflags.serving(flags, minor),
    }


def shutdown(flags: APIServerFlags) -> dict[str, Any]:
    """The fields of :class:`~sublet.controlplane.assemble.Shutdown`."""
    return {
        "delay": flags.shutdown_delay_duration,
        "retry_after": flags.shutdown_send_retry_after,
        "watches": flags.shutdown_watch_termination_grace_period,
    }


def _audit(flags: APIServerFlags) -> AuditSettings:
    writes = flags.audit_log_path or flags.audit_webhook_config_file
    if flags.audit_policy_file and not writes:
        raise ConfigurationError(
            "--audit-policy-file is set, but neither --audit-log-path nor --audit-webhook-config-file"
        )
    if writes and not flags.audit_policy_file:
        raise ConfigurationError("an audit log is asked for without a policy: set --audit-policy-file")
    log = LogSettings(
        flags.audit_log_path, flags.audit_log_maxage, flags.audit_log_maxbackup, flags.audit_log_maxsize
    )
    return AuditSettings(
        Path(flags.audit_policy_file) if flags.audit_policy_file else None,
        log if flags.audit_log_path else None,
        Path(flags.audit_webhook_config_file) if flags.audit_webhook_config_file else None,
        BatchSettings(
            flags.audit_webhook_batch_max_size,
            flags.audit_webhook_batch_max_wait,
            flags.audit_webhook_batch_buffer_size,
            flags.audit_webhook_initial_backoff,
        ),
    )


def _encryption(flags: APIServerFlags) -> Path | None:
    if flags.encryption_provider_config:
        return Path(flags.encryption_provider_config)
    if flags.encryption_provider_config_automatic_reload:
        raise ConfigurationError(
            "--encryption-provider-config-automatic-reload needs --encryption-provider-config"
        )
    return None


def _above_zero(flag: str, value: float) -> float:
    if value <= 0:
        raise ConfigurationError(f"{flag} must be above 0")
    return value


def _admission_configuration(flags: APIServerFlags) -> AdmissionConfiguration:
    path = flags.admission_control_config_file
    stated = load_admission(Path(path)) if path else AdmissionConfiguration()
    seconds = flags.default_not_ready_toleration_seconds, flags.default_unreachable_toleration_seconds
    return replace(stated, toleration_seconds=seconds)


def _enabled_admission(flags: APIServerFlags) -> tuple[str, ...]:
    """Those named in ``--enable-admission-plugins``; the names in both flags are checked."""
    from sublet.apiserver.admission import order

    if wrong := order.errors(flags.disable_admission_plugins, flags.enable_admission_plugins):
        raise ConfigurationError(f"[{', '.join(wrong)}]" if len(wrong) > 1 else wrong[0])
    return flags.enable_admission_plugins


def _port_range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last) <= 65535:
        return int(first), int(last)
    raise ConfigurationError(f"--service-node-port-range must be like 30000-32767, not {text!r}")
