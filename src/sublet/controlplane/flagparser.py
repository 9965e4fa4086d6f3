"""Flags of a Kubernetes component, stated as a dataclass: a field is a flag, with dashes for its underscores.

Durations are seconds; their fields say so by the metadata :data:`DURATION`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from sublet.machinery import durations
from sublet.machinery.settings import ConfigurationError

T = TypeVar("T")

DURATION: Mapping[str, str] = {"unit": "duration"}
WHOLE: Mapping[str, str] = {"unit": "whole"}
"""Of a list of which each mention of the flag is one, commas and all."""
_SWITCHES = (bool, bool | None)


@dataclasses.dataclass(frozen=True)
class Absent:
    """A flag that Kubernetes has and that means nothing here."""

    why: str
    """The reason, as errors tell it."""
    values: tuple[str, ...] = ()
    """What it may be set to all the same, since that is how it is here."""
    switch: bool = False
    """Whether it may stand alone, for true."""


def names(kind: Any) -> list[str]:
    """All flags of a component, with their two dashes."""
    return [_flag(each.name) for each in dataclasses.fields(kind)]


def parse(
    kind: type[T], arguments: Sequence[str], component: str, absent: Mapping[str, Absent] | None = None
) -> T:
    """``["--event-ttl=2h", "--feature-gates", "A=true"]``; of repeated flags the last counts, lists add up.

    ``component`` is who has these flags, as errors name it: ``the API server``. ``absent``: Kubernetes' flags that mean
    nothing here; they may be stated with the one value that is true here, if there is one.
    Raises :class:`ConfigurationError` for an unknown flag (naming the nearest) or a value that cannot be.
    """
    known = {_flag(each.name): each for each in dataclasses.fields(typing.cast(Any, kind))}
    hints = typing.get_type_hints(kind)
    switches = [flag for flag, each in known.items() if hints[each.name] in _SWITCHES]
    switches += [flag for flag, each in (absent or {}).items() if each.switch]
    values: dict[str, Any] = {}
    for flag, text in _pairs(arguments, switches, list(known), component):
        if flag not in known and (missing := (absent or {}).get(flag)) is not None:
            if text not in missing.values:
                raise ConfigurationError(f"{flag} cannot be {text or 'set'} here: {missing.why}")
            continue
        if flag not in known:
            nearest = difflib.get_close_matches(flag, known, 1, 0.6)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known flags: {', '.join(sorted(known))}"
            raise ConfigurationError(f"unknown flag {flag} of {component}: {hint}")
        name = known[flag].name
        value = _value(flag, hints[name], text, known[flag].metadata.get("unit", ""))
        values[name] = (*values.get(name, ()), *value) if isinstance(value, tuple) else value
    return kind(**values)


def shown(flags: Any) -> dict[str, str]:
    """Every flag, without its dashes, and its value as Kubernetes' programs print it."""
    return {
        _flag(each.name).removeprefix("--"): _text(getattr(flags, each.name), each.metadata.get("unit", ""))
        for each in dataclasses.fields(flags)
    }


def _text(value: Any, unit: str) -> str:
    if isinstance(value, tuple):
        return f"[{(';' if unit == 'whole' else ',').join(value)}]"
    if value is None or isinstance(value, bool):
        return "false" if value is False else "true"  # what is stated by nobody is on
    return durations.shown(value) if unit == "duration" else f"{value}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _pairs(
    arguments: Sequence[str], switches: Sequence[str], known: Sequence[str], component: str
) -> Iterator[tuple[str, str]]:
    """(flag, value) of each; a switch alone is true, any other flag takes the next argument."""
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--"):
            raise ConfigurationError(f"{argument!r} is no flag of {component}: flags look like --name=value")
        flag, equals, value = argument.partition("=")
        if not equals:
            if flag in switches:
                value = "true"
            elif rest:
                value = rest.pop(0)
            elif flag in known:
                raise ConfigurationError(f"{flag} needs a value")
        yield flag, value


def _value(flag: str, hint: Any, text: str, unit: str) -> Any:
    if typing.get_origin(hint) is Literal:
        if text not in typing.get_args(hint):
            raise ConfigurationError(
                f"{flag} must be one of {', '.join(typing.get_args(hint))}, not {text!r}"
            )
        return text
    if unit == "whole":
        return (text.strip(),)
    if typing.get_origin(hint) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if hint in _SWITCHES:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigurationError(f"{flag} must be true or false, not {text!r}")
        return text.lower() in ("true", "1")
    if hint is int:
        if not text.removeprefix("-").isdigit() or int(text) < 0:
            raise ConfigurationError(f"{flag} must be a whole number from 0, not {text!r}")
        return int(text)
    if unit == "duration":
        try:
            return durations.parse(text)
        except ValueError as error:
            raise ConfigurationError(f"{flag}: {error}") from None
    return _number(flag, text) if hint is float else text


def _number(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ConfigurationError(f"{flag} must be a number from 0, not {text!r}")
    return value
