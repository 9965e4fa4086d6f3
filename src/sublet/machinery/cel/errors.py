"""What can be wrong with an expression: at compilation, or when it is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding at a place of the source; ``offset`` counts characters from its start."""

    offset: int
    message: str

    def show(self, source: str) -> str:
        """The finding with its line and a caret, as cel-go prints it."""
        line_number = source.count("\n", 0, self.offset) + 1
        start = source.rfind("\n", 0, self.offset) + 1
        column = self.offset - start
        line = source[start:].split("\n", 1)[0]
        return (
            f"ERROR: <input>:{line_number}:{column + 1}: {self.message}\n | {line}\n | " + "." * column + "^"
        )


class CompileError(Exception):
    """The expression does not compile; ``str()`` shows every finding with its place."""

    during = "compilation failed"

    def __init__(self, source: str, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        ordered = sorted(issues, key=lambda issue: issue.offset)
        super().__init__("\n".join(issue.show(source) for issue in ordered))

    @property
    def told(self) -> str:
        """The findings, after what failed."""
        return f"{self.during}: {self}"


class InstantiationError(CompileError):
    """The expression is one, but no program can be made of it: a pattern written out in it is none."""

    during = "program instantiation failed"

    def __init__(self, reason: str) -> None:
        super().__init__("", ())
        self.args = (reason,)


class EvaluationError(Exception):
    """The expression has no value for this input (no such key, overflow …)."""


class CostExceeded(Exception):
    """Evaluation was stopped because it costs more than allowed. Never absorbed by ``&&``, ``||``."""


def no_such_overload(name: str = "") -> EvaluationError:
    return EvaluationError(f"no such overload: {name}" if name else "no such overload")
