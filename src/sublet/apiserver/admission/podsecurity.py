"""Pod Security: what a namespace's labels ask of pods, and what a pod does that a level forbids.

The checks are in ``podsecurity_checks``; texts as upstream's ``k8s.io/pod-security-admission``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from sublet.apiserver.admission.podsecurity_checks import BASELINE, RESTRICTED, Check, Pod, Run, Violation
from sublet.machinery.status import FieldError
from sublet.machinery.status import invalid as invalid_value

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
"""From the loosest to the strictest."""
LATEST = 1 << 16
"""The minor that ``latest`` stands for: newer than all."""
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")


class Standard(Struct, frozen=True):
    """A level of the standards at a version; ``str()`` is as in texts: ``restricted:v1.24``."""

    level: str = "privileged"
    minor: int = LATEST

    @property
    def rank(self) -> int:
        return LEVELS.index(self.level)

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"


class Policy(Struct, frozen=True):
    """What a namespace asks of its pods."""

    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()
    errors: tuple[FieldError, ...] = ()
    """Labels that say nothing: an unknown level enforces the strictest, and neither audits nor warns."""

    @property
    def is_privileged(self) -> bool:
        return {each.level for each in (self.enforce, self.audit, self.warn)} == {"privileged"}


OPEN = Policy()
"""Nothing is asked."""


def policy_of(labels: Mapping[str, str], defaults: Policy = OPEN) -> Policy:
    """The policy in a namespace's labels, ``defaults`` for what they do not say.

    Without a ``warn`` level what the labels enforce is warned about, where that is stricter.
    """
    if not any(key.startswith(PREFIX) for key in labels):
        return defaults
    errors: list[FieldError] = []
    enforce = _standard(labels, "enforce", defaults.enforce, errors)
    audit = _standard(labels, "audit", defaults.audit, errors)
    warn = _standard(labels, "warn", defaults.warn, errors)
    stated = labels.get(f"{PREFIX}enforce") in LEVELS
    if stated and f"{PREFIX}warn" not in labels and enforce.rank > warn.rank:
        versioned = f"{PREFIX}warn-version" in labels
        warn = Standard(enforce.level, warn.minor if versioned else enforce.minor)
    return Policy(enforce, audit, warn, tuple(errors))


def _standard(labels: Mapping[str, str], mode: str, default: Standard, errors: list[FieldError]) -> Standard:
    level, version = labels.get(f"{PREFIX}{mode}"), labels.get(f"{PREFIX}{mode}-version")
    found, minor = default.level, default.minor
    if level in LEVELS:
        found = str(level)
    elif level is not None:
        found = "restricted" if mode == "enforce" else "privileged"
        where = f"metadata.labels[{PREFIX}{mode}]"
        errors.append(invalid_value(where, level, f"must be one of {', '.join(LEVELS)}"))
    if version is not None:
        match = _VERSION.fullmatch(version)
        if match is None and version != "latest":
            where = f"metadata.labels[{PREFIX}{mode}-version]"
            errors.append(invalid_value(where, version, 'must be "latest" or "v1.x"'))
        minor = LATEST if match is None else min(int(match[1]), LATEST - 1)
    return Standard(found, minor)


def evaluate(standard: Standard, pod: Pod, newest: int = LATEST) -> list[Violation]:
    """What a pod does that the standard forbids; ``newest`` is the server's own minor, which ``latest`` means."""
    minor = min(standard.minor, newest)
    return [found for run in _runs(standard.level, minor) if (found := run(pod)) is not None]


def _runs(level: str, minor: int) -> Iterator[Run]:
    if level == "privileged":
        return
    strict = [(check, run) for check in RESTRICTED if (run := check.at(minor)) is not None]
    if level != "restricted":
        strict = []
    needless = {name for check, _ in strict for name in check.overrides}
    loose: list[Check] = [check for check in BASELINE if check.id not in needless]
    for check in loose:
        if (run := check.at(minor)) is not None:
            yield run
    yield from (run for _, run in strict)


def told(violations: list[Violation]) -> str:
    """The violations with their details, as in refusals."""
    return ", ".join(str(violation) for violation in violations)
