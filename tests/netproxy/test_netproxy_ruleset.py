"""Changes from one table to another are exact, and nothing is deleted while it is still spoken of."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from sublet.netproxy.ruleset import Ruleset, changes, complete, removal


class Kernel:
    """Executes the commands that changes are made of, with the refusals of the real one."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {}
        self.sets: dict[str, str] = {}
        self.elements: dict[str, dict[str, str]] = {}

    def run(self, text: str) -> None:
        for line in text.splitlines():
            verb, kind, rest = line.split(" ", 2)
            rest = rest.removeprefix("ip t").strip()
            name, _, tail = rest.partition(" ")
            getattr(self, f"{verb}_{kind}")(name, tail)

    def used(self) -> set[str]:
        said = [rule for rules in self.chains.values() for rule in rules]
        said += [value for held in self.elements.values() for value in held.values()]
        return {word for text in said for word in re.findall(r"[\w@-]+", text)}

    def add_table(self, name: str, tail: str) -> None: ...

    def delete_table(self, name: str, tail: str) -> None:
        self.__init__()

    def add_chain(self, name: str, tail: str) -> None:
        self.chains.setdefault(name, [])

    def flush_chain(self, name: str, tail: str) -> None:
        self.chains[name].clear()

    def delete_chain(self, name: str, tail: str) -> None:
        assert name not in self.used(), f"chain {name} is in use"
        assert not self.chains.pop(name)

    def add_rule(self, name: str, tail: str) -> None:
        for word in re.findall(r"goto ([\w-]+)", tail):
            assert word in self.chains, f"no chain {word}"
        for word in re.findall(r"@([\w-]+)", tail):
            assert word in self.sets or word in self.elements, f"no set {word}"
        self.chains[name].append(tail)

    def add_set(self, name: str, tail: str) -> None:
        self.sets.setdefault(name, tail)

    def delete_set(self, name: str, tail: str) -> None:
        assert f"@{name}" not in self.used(), f"set {name} is in use"
        del self.sets[name]

    def add_map(self, name: str, tail: str) -> None:
        self.elements[name] = {}

    def delete_element(self, name: str, tail: str) -> None:
        for each in tail.strip("{} ").split(", "):
            del self.elements[name][each]

    def add_element(self, name: str, tail: str) -> None:
        for each in tail.strip("{} ").split(", "):
            key, value = each.split(" : ")
            assert value.removeprefix("goto ") in self.chains
            assert key not in self.elements[name], f"element {key} is there"
            self.elements[name][key] = value


CHAINS = [f"c{n}" for n in range(5)]
SETS = [f"s{n}" for n in range(3)]


@st.composite
def tables(draw):
    chains = draw(st.lists(st.sampled_from(CHAINS), min_size=1, unique=True))
    sets = {
        name: draw(st.sampled_from(["timeout 1s", "timeout 2s"]))
        for name in draw(st.sets(st.sampled_from(SETS)))
    }
    rules = [f"goto {name}" for name in chains] + [f"saddr @{name} drop" for name in sets] + ["accept"]
    return Ruleset(
        "ip",
        "t",
        chains={name: tuple(draw(st.lists(st.sampled_from(rules), max_size=3))) for name in chains},
        sets=sets,
        maps={"m": "map type ipv4_addr : verdict ;"},
        elements={
            "m": {
                key: f"goto {draw(st.sampled_from(chains))}"
                for key in draw(st.sets(st.sampled_from(["1.1.1.1", "2.2.2.2", "3.3.3.3"])))
            }
        },
    )


def same(kernel: Kernel, wanted: Ruleset) -> None:
    assert {name: tuple(rules) for name, rules in kernel.chains.items()} == wanted.chains
    assert kernel.elements == wanted.elements
    assert kernel.sets == {name: f"{{ {text} }}" for name, text in wanted.sets.items()}


@given(tables(), tables())
def test_changes_lead_from_any_table_to_any_other(old, new):
    kernel = Kernel()
    kernel.run(complete(old))
    same(kernel, old)
    kernel.run(changes(old, new))
    same(kernel, new)


@given(tables(), tables())
def test_a_complete_table_replaces_whatever_was_there(old, new):
    kernel = Kernel()
    kernel.run(complete(old))
    kernel.run(complete(new))
    same(kernel, new)


@given(tables())
def test_equal_tables_need_no_transaction(table):
    assert changes(table, table) == ""


def test_only_what_differs_is_written():
    rules = {f"c{n}": ("accept",) for n in range(100)}
    old = Ruleset("ip", "t", chains=rules)
    new = Ruleset("ip", "t", chains={**rules, "c7": ("drop",)})
    assert changes(old, new) == "add chain ip t c7\nflush chain ip t c7\nadd rule ip t c7 drop\n"


def test_removal_works_on_a_table_that_is_not_there():
    assert removal("ip6", "t").splitlines() == ["add table ip6 t", "delete table ip6 t"]
