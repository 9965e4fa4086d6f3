"""A table of nftables as data: what is in it, and the text that makes it so or changes one into another. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sublet.netproxy.endpoints import Family


@dataclass(frozen=True, slots=True)
class Ruleset:
    """One table. Chains and sets by name; a map's elements by key."""

    family: Family
    table: str
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Rules by chain."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """Chain to ``type … hook … priority …`` for the chains where packets come in; constant in a table's life."""
    sets: Mapping[str, str] = field(default_factory=dict)
    """Sets that fill at run time: name to declaration."""
    maps: Mapping[str, str] = field(default_factory=dict)
    """Maps and sets with elements of ours: name to declaration, which begins with ``map`` or ``set``."""
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Map to key to value; a set's elements have the value ``""``."""

    @property
    def target(self) -> str:
        return f"{self.family} {self.table}"


def complete(new: Ruleset) -> str:
    """One transaction that makes the table exactly this, whatever was there."""
    empty = Ruleset(new.family, new.table)
    body = "\n".join(_declarations(new))
    head = f"add table {new.target}\ndelete table {new.target}\nadd table {new.target}\n{body}\n"
    return head + changes(empty, new)


def removal(family: Family, table: str) -> str:
    """Removes a table, which need not be there."""
    return f"add table {family} {table}\ndelete table {family} {table}\n"


def _declarations(new: Ruleset) -> Iterator[str]:
    for name, declaration in new.maps.items():
        kind, rest = declaration.split(" ", 1)
        yield f"add {kind} {new.target} {name} {{ {rest} }}"


def changes(old: Ruleset, new: Ruleset) -> str:
    """One transaction that turns the old table into the new one; empty when they are equal."""
    lines: list[str] = []
    target = new.target
    changed_sets = {name for name in old.sets if name in new.sets and old.sets[name] != new.sets[name]}
    renewed = {
        name
        for name, rules in new.chains.items()
        if old.chains.get(name) != rules or (changed_sets and _uses(rules, changed_sets))
    }
    gone = [name for name in old.chains if name not in new.chains]
    for name in sorted(renewed):
        base = f" {{ {new.bases[name]} ; policy accept ; }}" if name in new.bases else ""
        lines.append(f"add chain {target} {name}{base}")
    emptied = [*gone, *(name for name in sorted(renewed) if name in old.chains)]
    lines += [f"flush chain {target} {name}" for name in emptied]
    lines += [f"delete set {target} {name}" for name in sorted(changed_sets)]
    for name, declaration in new.sets.items():
        if name not in old.sets or name in changed_sets:
            lines.append(f"add set {target} {name} {{ {declaration} }}")
    for name in sorted(renewed):
        lines += [f"add rule {target} {name} {rule}" for rule in new.chains[name]]
    lines += _element_changes(old, new)
    # rules first: a chain or set that is still spoken of cannot be deleted
    lines += [f"delete chain {target} {name}" for name in gone]
    lines += [f"delete set {target} {name}" for name in old.sets if name not in new.sets]
    return "\n".join(lines) + "\n" if lines else ""


def _uses(rules: tuple[str, ...], names: set[str]) -> bool:
    return any(f"@{name} " in f"{rule} " for rule in rules for name in names)


def _element_changes(old: Ruleset, new: Ruleset) -> Iterator[str]:
    for name in new.maps:
        before, after = old.elements.get(name, {}), new.elements.get(name, {})
        removed = [key for key in before if after.get(key) != before[key]]
        added = [key for key in after if before.get(key) != after[key]]
        if removed:
            yield f"delete element {new.target} {name} {{ {', '.join(removed)} }}"
        if added:
            shown = (f"{key} : {after[key]}" if after[key] else key for key in added)
            yield f"add element {new.target} {name} {{ {', '.join(shown)} }}"
