"""The audit log of one API server: its policy, where events go, and what is counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct, field

from sublet.apiserver.aside import aside
from sublet.apiserver.audit.event import Event
from sublet.apiserver.audit.policy import COMPLETE, LEVELS, NONE, Policy, load
from sublet.apiserver.audit.sinks import BatchSettings, LogFile, LogSettings, Sink, Webhook
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response, User
from sublet.machinery.clock import Clock


class AuditSettings(Struct, frozen=True):
    """By kube-apiserver's flags. Without a policy, or with nowhere to write, nothing is logged."""

    policy_file: Path | None = None
    log: LogSettings | None = None
    webhook_config_file: Path | None = None
    """A kubeconfig whose server takes the events."""
    webhook: BatchSettings = field(default_factory=BatchSettings)


class AuditLog:
    """Decides, makes events and hands them on."""

    def __init__(self, policy: Policy, sinks: Sequence[Sink], clock: Clock) -> None:
        self._policy = policy
        self._sinks = tuple(sinks)
        self._clock = clock
        self._events = 0
        self._levels = [0] * len(LEVELS)

    def start(self) -> None:
        for sink in self._sinks:
            sink.start()

    async def stop(self) -> None:
        for sink in self._sinks:
            await sink.stop()

    def event(self, request: Request, info: RequestInfo, user: User) -> Event | None:
        """The event of a request that begins now; None where the policy does not want it."""
        decision = self._policy.decide(user, info)
        self._levels[decision.level] += 1
        return None if decision.level == NONE else Event(request, info, user, decision, self._clock.now())

    def write(self, event: Event, stage: str) -> None:
        """Logs the event at a stage, unless the policy omits that."""
        if stage in event.decision.omitted:
            return
        self._put(event.line(stage, self._clock.now()))

    async def finish(self, event: Event, response: Response) -> None:
        """Takes in what was sent and answered, and logs the end; what is large is read aside."""
        sent = response.body if isinstance(response.body, bytes) else b""
        self._put(await aside(event.received_bytes + len(sent), self._ended, event, response))

    def _ended(self, event: Event, response: Response) -> bytes | None:
        event.receive_body()
        event.respond(response)
        return None if COMPLETE in event.decision.omitted else event.line(COMPLETE, self._clock.now())

    async def finish_failed(self, event: Event, status: dict[str, object], stage: str) -> None:
        """As :meth:`finish`, for an error: the Status object that goes out."""
        self._put(await aside(event.received_bytes, self._failed, event, status, stage))

    def _failed(self, event: Event, status: dict[str, object], stage: str) -> bytes | None:
        event.receive_body()
        event.fail(status)
        return None if stage in event.decision.omitted else event.line(stage, self._clock.now())

    def _put(self, line: bytes | None) -> None:
        """None: the policy omits it."""
        if line is None:
            return
        self._events += 1
        for sink in self._sinks:
            sink.put(line)

    def lines(self) -> Iterator[str]:
        """Its metrics."""
        yield "# HELP apiserver_audit_event_total [ALPHA] Counter of audit events generated and sent to the audit backend."
        yield "# TYPE apiserver_audit_event_total counter"
        yield f"apiserver_audit_event_total {self._events}"
        yield "# HELP apiserver_audit_level_total [ALPHA] Counter of policy levels for audit events (1 per request)."
        yield "# TYPE apiserver_audit_level_total counter"
        for level, count in zip(LEVELS, self._levels, strict=True):
            yield f'apiserver_audit_level_total{{level="{level}"}} {count}'
        yield from _dropped(self._sinks)


def _dropped(sinks: Iterable[Sink]) -> Iterator[str]:
    yield "# HELP apiserver_audit_error_total [ALPHA] Counter of audit events that failed to be audited properly."
    yield "# TYPE apiserver_audit_error_total counter"
    for sink in sinks:
        yield f'apiserver_audit_error_total{{plugin="{sink.name}"}} {sink.dropped}'


def open_log(settings: AuditSettings, clock: Clock) -> AuditLog | None:
    """The audit log that the settings ask for. Raises :class:`~sublet.machinery.settings.ConfigurationError`."""
    if settings.policy_file is None or (settings.log is None and settings.webhook_config_file is None):
        return None
    sinks: list[Sink] = []
    if settings.log is not None:
        sinks.append(LogFile(settings.log, clock))
    if settings.webhook_config_file is not None:
        sinks.append(_webhook(settings.webhook_config_file, settings.webhook))
    return AuditLog(load(settings.policy_file), sinks, clock)


def _webhook(path: Path, settings: BatchSettings) -> Webhook:
    from sublet.client import kubeconfig
    from sublet.client.http import HTTPTransport
    from sublet.machinery.settings import ConfigurationError

    try:
        access = kubeconfig.load(str(path))
    except kubeconfig.KubeconfigError as error:
        raise ConfigurationError(f"the audit webhook's configuration {path}: {error}") from None
    return Webhook(HTTPTransport(access), settings)
