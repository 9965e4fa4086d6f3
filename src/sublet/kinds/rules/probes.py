"""Rules of probes and lifecycle handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.rules.common import Errors, named, needs, not_negative, port_number_or_name
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported, required

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_OF_PROBES = ("exec", "httpGet", "tcpSocket", "grpc")
_OF_MOMENTS = ("exec", "httpGet", "tcpSocket", "sleep")
_SIGNALS = (
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO",
    "SIGIOT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGRTMAX", "SIGRTMIN", "SIGSEGV",
    "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1",
    "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
)  # fmt: skip
_REAL_TIME = (
    *(f"SIGRTMAX-{number}" for number in range(1, 15)),
    *(f"SIGRTMIN+{number}" for number in range(1, 16)),
)
STOP_SIGNALS = {"linux": tuple(sorted((*_SIGNALS, *_REAL_TIME))), "windows": ("SIGKILL", "SIGTERM")}
"""Operating system -> the signals that may stop its containers."""
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def all_of(path: str, container: Object, grace: int | None, system: str | None) -> Errors:
    """``lifecycle`` and the probes; ``grace``: the pod's termination grace period; ``system``: its ``os.name``."""
    if (lifecycle := container.get("lifecycle")) is not None:
        for moment in ("postStart", "preStop"):
            if (handler := lifecycle.get(moment)) is not None:
                yield from _handler(f"{path}.lifecycle.{moment}", handler, grace, _OF_MOMENTS)
        if (signal := lifecycle.get("stopSignal")) is not None:
            yield from _stop_signal(f"{path}.lifecycle.stopSignal", signal, system)
    for kind in PROBES:
        if (probe := container.get(kind)) is not None:
            yield from _probe(f"{path}.{kind}", probe, grace, readiness=kind == "readinessProbe")


def _stop_signal(path: str, signal: str, system: str | None) -> Errors:
    if system is None:
        yield field_forbidden(path, "may not be set for containers with empty `spec.os.name`")
    elif signal not in STOP_SIGNALS.get(system, (signal,)):
        yield not_supported(path, signal, STOP_SIGNALS[system])


def _probe(path: str, probe: Object, grace: int | None, *, readiness: bool) -> Errors:
    yield from _handler(path, probe, grace, _OF_PROBES)
    for key in _COUNTS:
        yield from not_negative(f"{path}.{key}", probe.get(key))
    own, where = probe.get("terminationGracePeriodSeconds"), f"{path}.terminationGracePeriodSeconds"
    if own is not None and own <= 0:
        yield invalid(where, own, "must be greater than 0")
    if readiness:
        if own is not None:
            yield invalid(where, own, "must not be set for readinessProbes")
    elif (probe.get("successThreshold") or 0) != 1:
        yield invalid(f"{path}.successThreshold", probe.get("successThreshold") or 0, "must be 1")


def _handler(path: str, handler: Object, grace: int | None, kinds: Sequence[str]) -> Errors:
    chosen = [kind for kind in kinds if handler.get(kind) is not None]
    if not chosen:
        yield required(path, "must specify a handler type")
    for index, kind in enumerate(chosen):
        if index:
            yield field_forbidden(f"{path}.{kind}", "may not specify more than 1 handler type")
        else:
            yield from _action(f"{path}.{kind}", kind, handler[kind], grace)


def _action(path: str, kind: str, action: Any, grace: int | None) -> Errors:
    if kind == "exec":
        yield from needs(f"{path}.command", action.get("command"))
    elif kind == "sleep":
        seconds = action.get("seconds") or 0
        if grace is not None and not 0 <= seconds <= grace:
            detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            yield invalid(path, seconds, detail)
    elif kind == "httpGet":
        yield from _http_get(path, action)
    else:
        yield from port_number_or_name(f"{path}.port", action.get("port"))


def _http_get(path: str, action: Object) -> Errors:
    yield from needs(f"{path}.path", action.get("path"))
    yield from port_number_or_name(f"{path}.port", action.get("port"))
    if action.get("scheme") not in ("HTTP", "HTTPS"):
        yield not_supported(f"{path}.scheme", action.get("scheme") or "", ("HTTP", "HTTPS"))
    for header in action.get("httpHeaders") or ():
        yield from named(f"{path}.httpHeaders", header.get("name") or "", names.http_header_name)
