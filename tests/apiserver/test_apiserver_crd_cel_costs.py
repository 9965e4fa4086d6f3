"""What rules are estimated to cost, unit for unit as upstream: that decides which definitions are accepted."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.apiserver.crd_cel_types import Shapes
from sublet.machinery.cel.environment import Environment

Schema = dict[str, Any]


def array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def mapping(values: Schema, **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": values, **more}


def fields(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def text(**more: Any) -> Schema:
    return {"type": "string", **more}


NUMBER, BOOLEAN, TEXT, INTEGER = {"type": "number"}, {"type": "boolean"}, text(), {"type": "integer"}
EITHER = {"x-kubernetes-int-or-string": True}
DAY, MOMENT, SPAN = text(format="date"), text(format="date-time"), text(format="duration")
OBJECT = {**fields(required=TEXT, optional=TEXT), "required": ["required"]}


def estimate(schema: Schema, rule: str) -> int:
    shape = Shapes().of(schema, "")
    assert shape is not None
    return Environment({"self": shape.type, "oldSelf": shape.type}).compile(rule).estimate


ALL = "self.all(x, true)"


@pytest.mark.parametrize(
    ("schema", "rule", "cost"),
    [
        (array(NUMBER), ALL, 4718591),
        (array(NUMBER, maxItems=10), ALL, 32),
        (array(TEXT), ALL, 3145727),
        (array(TEXT, maxItems=20), ALL, 62),
        (array(BOOLEAN), ALL, 1887437),
        (array(BOOLEAN, maxItems=5), ALL, 17),
        (array(OBJECT), ALL, 555128),
        (array(OBJECT, maxItems=50), ALL, 152),
        (array(EITHER), ALL, 4718591),
        (array(SPAN), ALL, 2359295),
        (array(DAY), ALL, 725936),
        (array(MOMENT), ALL, 428963),
        (mapping(NUMBER), ALL, 1348169),
        (mapping(NUMBER, maxProperties=10), ALL, 32),
        (mapping(TEXT), ALL, 1179647),
        (mapping(TEXT, maxProperties=3), ALL, 11),
        (mapping(BOOLEAN), ALL, 943718),
        (mapping(BOOLEAN, maxProperties=100), ALL, 302),
        (mapping(OBJECT), ALL, 428963),
        (mapping(SPAN), ALL, 1048577),
        (mapping(DAY), ALL, 524288),
        (mapping(MOMENT), ALL, 349526),
        (TEXT, "self.contains('test')", 314574),
        (text(maxLength=10), "self.contains('test')", 5),
        (TEXT, "self.startsWith('test')", 2),
        (text(maxLength=10), "self.endsWith('test')", 2),
        (TEXT, "size(self + 'hello') > size('hello')", 314578),
        (text(maxLength=4), "size(self + 'hello') > size('hello')", 7),
        (array(NUMBER), "self[1] == 0.0", 2),
        (array(TEXT), "self[1] == self[1]", 314577),
        (array(array(NUMBER, maxItems=10), maxItems=10), "self.all(x, x.all(y, true))", 352),
        (array(array(array(NUMBER, maxItems=10), maxItems=10), maxItems=10),
         "self.all(x, x.all(y, y.all(z, true)))", 3552),
        (TEXT, "self.matches('x')", 314574),
        (text(maxLength=50), "self.matches('x')", 22),
        (TEXT, "self.matches('')", 1),
        (mapping(TEXT), "self.all(x, x.contains(self[x]))", 2752507),
        (mapping(text(maxLength=10), maxProperties=10), "self.all(x, x.contains(self[x]))", 72),
        (array(NUMBER), "self.all(x, x == 0.0)", 6291454),
        (array(EITHER), "self[0] == 5", 3),
        (array(BOOLEAN), "self[0] == false", 2),
        (array(mapping(NUMBER)), "self.all(x, x.y == 25.2)", 6291452),
        (array(mapping(NUMBER), maxItems=12), "self.all(x, x.y == 25.2)", 74),
        (array(fields(x=NUMBER)), "self[0].x > 2.0", 4),
        (array(SPAN), "self[0].getHours() == 2", 4),
        (TEXT, "self.find('[0-9]+') == ''", 629147),
        (text(maxLength=10), "self.find('[0-9]+') == ''", 11),
        (array(TEXT), "self.join(' ') == 'aa bb'", 329853068905),
        (array(text(maxLength=10), maxItems=10), "self.join(' ') == 'aa bb'", 43),
        (array(TEXT), "self.isSorted() == true", 329854432052),
        (array(text(maxLength=10), maxItems=10), "self.isSorted() == true", 52),
        (fields(str=TEXT, before=text(maxLength=2), after=text(maxLength=4)),
         "self.str.replace(self.before, self.after) == 'does not matter'", 629154),
        (fields(str=text(maxLength=4), before=text(maxLength=2), after=text(maxLength=4)),
         "self.str.replace(self.before, self.after) == 'does not matter'", 12),
        (fields(str=TEXT, separator=TEXT), "self.str.split(self.separator) == []", 629160),
        (fields(str=text(maxLength=10), separator=text(maxLength=10)), "self.str.split(self.separator) == []", 22),
        (TEXT, "self.lowerAscii() == 'lower!'", 314575),
        (text(maxLength=10), "self.lowerAscii() == 'lower!'", 6),
        (mapping(INTEGER), "oldSelf.size() == self.size()", 5),
        (mapping(MOMENT), "self['a'] == self['b']", 8),
        (mapping(SPAN), "self['a'] == self['b']", 8),
        (text(enum=["A", "B", "C", "LongValue"]), "self.contains('A')", 2),
        (text(enum=["A", "B", "C", "LongValue"], maxLength=1000), "self.contains('A')", 401),
    ],
)  # fmt: skip
def test_estimates_are_upstreams(schema: Schema, rule: str, cost: int) -> None:
    assert estimate(schema, rule) == cost
