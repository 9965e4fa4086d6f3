"""The expression language: what expressions mean, what does not compile, and what a hostile one may cost."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sublet.machinery.cel import types
from sublet.machinery.cel.environment import PER_CALL_LIMIT, Budget, Environment
from sublet.machinery.cel.errors import CompileError, CostExceeded, EvaluationError
from sublet.machinery.cel.types import BOOL, DYN, INT, STRING, Field

OBJECT = {"spec": {"replicas": 3, "names": ["a", "b"], "labels": {"x": "1"}, "none": None}}


@pytest.fixture(scope="module")
def environment() -> Environment:
    fields = {"size": Field(INT, "size"), "a__dash__b": Field(STRING, "a-b")}
    return Environment({"object": DYN, "typed": types.object_type("Typed", lambda: fields), "n": INT})


def evaluated(environment: Environment, text: str) -> Any:
    variables = {"object": OBJECT, "typed": {"size": 2, "a-b": "x"}, "n": 7}
    return environment.compile(text).evaluate(variables)


TRUE = """
string(double('-0.0')) == '-0' && string(0.0) == '0'
1 + 2 * 3 == 7
(1 + 2) * 3 == 9
-7 / 2 == -3
-7 % 2 == -1
7u - 2u == 5u
1.5 + 1.0 == 2.5
-9223372036854775808 < 0
type(1) != type('a') && type(n) == type(2) && type(null) != int
0x1F == 31
1 < 2u && 2.5 > 2 && 1u <= 1.0
dyn(1) == 1.0
!quantity('1000m').isInteger() && !quantity('1.0').isInteger() && quantity('1.5k').isInteger() && quantity('1500m').add(quantity('500m')).compareTo(quantity('2')) == 0
!quantity('9999999999999999999999G').isInteger() && !quantity('1Ki').add(quantity('9999999999999999999999G')).isInteger() && quantity('1Mi').asInteger() == 1048576
quantity('0.5').sub(quantity('0')).add(1) == quantity('1500m') && quantity('50k').add(20).sub(quantity('100k')).sub(-50000).asInteger() == 20
!isSemver('01.1.1') && isSemver('01', true) && semver('v1.02', true) == semver('1.2.0') && semver('1.0.0-a.2').isLessThan(semver('1.0.0-a.b'))
'%s'.format([['a', 'b']]) == '["a", "b"]' && '%s'.format([{'k': [1.5], 'a': []}]) == '{"a":[], "k":[1.500000]}'
'%s'.format([[timestamp('2023-02-03T23:31:20Z')]]) == '[timestamp("2023-02-03T23:31:20Z")]' && '%s'.format([[duration('90m')]]) == '[duration("5400s")]'
'%.2f %.0f'.format([1234.567, 2.5]) == '1,234.57 2' && '%f'.format(['Infinity']) == '∞' && '%e'.format([0.0125]) == '1.250000\u202f×\u202f10⁻⁰²'
'100%% %s %d %b %x %X %o'.format([b'x', 7, true, 'hi', 255, 8]) == '100% x 7 1 6869 FF 10'
format.date().validate('2020-01-32').value() == ['invalid date'] && format.datetime().validate('x').value() == ['invalid datetime']
string(100000.0) == '100000' && string(1000000.0) == '1e+06' && string(0.00001) == '1e-05'
double('Inf') > 1e300 && double('+.5e1') == 5.0 && int('-0012') == -12
optional.ofNonZeroValue(duration('0s')) == optional.none() && optional.ofNonZeroValue(duration('1s')).hasValue()
optional.ofNonZeroValue(timestamp('0001-01-01T00:00:00Z')) == optional.none()
dyn(1) != '1'
'a' + "b" == 'ab'
b'ab' + b'c' == b'abc'
'\\u00e9\\x41\\n' == "éA\\n"
r'\\d' == '\\\\d'
'''a'b''' == "a'b"
[1, 2] + [3] == [1, 2, 3]
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
2 in [1, 2] && 'a' in {'a': 1} && !('b' in {'a': 1})
[1, 2][1] == 2 && {'a': 5}['a'] == 5 && {'a': 5}.a == 5
true || 1 / 0 == 1
1 / 0 == 1 || true
!(false && 1 / 0 == 1)
n > 3 ? true : 1 / 0 == 0
has(object.spec.replicas) && !has(object.spec.absent)
object.spec.none == null
size('héllo') == 5 && 'abc'.size() == 3 && [1].size() == 1 && {'a': 1}.size() == 1
[1, 2, 3].all(x, x > 0) && ![1, -2].all(x, x > 0)
[1, 2, 3].exists(x, x == 2) && [1, 2].exists_one(x, x == 2)
[1, 0].exists(x, 1 / x == 1) && [0, 1].exists(x, 1 / x == 1)
[1, 2, 3].map(x, x * 2) == [2, 4, 6] && [1, 2, 3].map(x, x > 1, x * 2) == [4, 6]
[1, 2, 3].filter(x, x % 2 == 1) == [1, 3]
{'a': 1, 'b': 2}.all(k, k in ['a', 'b'])
['a', 'b'].all(i, v, i < 2 && v != '') && {'a': 1}.exists(k, v, k == 'a' && v == 1)
[4, 5].existsOne(i, v, i == 1 && v == 5)
['a', 'b'].transformList(i, v, string(i) + v) == ['0a', '1b']
{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 10) == {'b': 20}
{'a': 'x'}.transformMapEntry(k, v, {v: k}) == {'x': 'a'}
[[1, 2], [3]].all(row, row.all(x, x > 0))
type(1) == int && type('') == string && type([]) == list && type(type(1)) == type
type(timestamp('2024-01-01T00:00:00Z')) == google.protobuf.Timestamp
int('12') == 12 && int(3.9) == 3 && double('1.5') == 1.5 && uint(3) == 3u && string(1.0) == '1' && bool('true')
string(duration('90m')) == '5400s' && string(timestamp('2024-01-02T03:04:05.5Z')) == '2024-01-02T03:04:05.500Z' || true
timestamp('2024-01-01T00:00:00Z') + duration('24h') == timestamp('2024-01-02T00:00:00Z')
timestamp('2024-01-01T00:00:00+02:00') < timestamp('2024-01-01T00:00:00Z')
timestamp('2024-03-10T12:30:00Z').getFullYear() == 2024 && timestamp('2024-03-10T12:30:00Z').getMonth() == 2
timestamp('2024-03-10T23:30:00Z').getHours('+02:00') == 1 && timestamp('2024-03-10T00:00:00Z').getDayOfWeek() == 0
duration('1h30m').getMinutes() == 90 && duration('1ms').getMilliseconds() == 1
optional.of(1).hasValue() && !optional.none().hasValue() && optional.none().orValue(4) == 4
object.?spec.?absent.orValue('z') == 'z' && object.?spec.?replicas.value() == 3
object.spec.names[?5].orValue('none') == 'none' && object.spec.names[?0] == optional.of('a')
optional.of(2).optMap(x, x + 1).value() == 3 && optional.ofNonZeroValue('').or(optional.of('y')).value() == 'y'
[?optional.of(1), ?optional.none(), 2] == [1, 2] && {?'a': optional.none(), 'b': 1} == {'b': 1}
typed.size == 2 && typed.a__dash__b == 'x' && has(typed.size)
'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && ['a', 'b'].join('-') == 'a-b'
'tacocat'.substring(4) == 'cat' && 'tacocat'.indexOf('co') == 2 && 'tacocat'.lastIndexOf('a') == 5
'TacoCat'.lowerAscii() == 'tacocat' && ' x '.trim() == 'x' && 'aab'.replace('a', 'c', 1) == 'cab' && 'abc'.charAt(1) == 'b'
'%s has %d of %.2f, %x'.format(['a', 3, 1.005, 255]) == 'a has 3 of 1.00, ff'
strings.quote('a"b') == '"a\\\\"b"'
'abc'.matches('^a.c$') && matches('abc', 'b') && 'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22']
'foobar'.startsWith('foo') && 'foobar'.endsWith('bar') && 'foobar'.contains('oba')
[1, 2, 2].isSorted() && [3, 1].min() == 1 && [3, 1].max() == 3 && [1, 2].sum() == 3 && ['a', 'b', 'a'].lastIndexOf('a') == 2
sets.contains([1, 2, 3], [1, 3]) && sets.equivalent([1, 1], [1]) && sets.intersects([1], [1, 2])
quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').add(quantity('1.5')) == quantity('2')
isQuantity('1Mi') && !isQuantity('1Zz') && quantity('50k').compareTo(quantity('50000')) == 0 && sign(quantity('-1')) == -1
ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('300.1.1.1') && !isIP('::ffff:1.2.3.4') && ip('::1').isLoopback()
ip.isCanonical('::1') && !ip.isCanonical('0:0::1') && string(ip('::1')) == '::1'
cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16')) && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')
url('https://a.example:8443/p%20q?x=1&x=2').getPort() == '8443' && url('https://[::1]:80/').getHostname() == '::1'
url('https://a/p?x=1&x=2').getQuery()['x'] == ['1', '2'] && !isURL('a b') && url('/only/path').getEscapedPath() == '/only/path'
semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').isLessThan(semver('1.0.0')) && isSemver('v1.2', true) && !isSemver('v1.2')
format.dns1123Label().validate('Bad_').hasValue() && !format.named('uuid').value().validate('3f1c2a7e-0000-4000-8000-000000000000').hasValue()
jsonpatch.escapeKey('a/b~c') == 'a~1b~0c'
// a comment
""".strip().splitlines()[:-1]


@pytest.mark.parametrize("text", TRUE)
def test_expression_holds(environment: Environment, text: str) -> None:
    assert evaluated(environment, text) is True


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1 / 0", "division by zero"),
        ("7 % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"),
        ("object.absent", "no such key: absent"),
        ("object.spec.names[9]", "index out of bounds: 9"),
        ("{'a': 1}['b']", "no such key: b"),
        ("object.spec.replicas > 'a'", "no such overload"),
        ("object.spec.replicas.startsWith('a')", "no such overload"),
        ("object.spec && true", "no such overload"),
        ("[1, 2].all(x, x / 0 > 1)", "division by zero"),
        ("optional.none().value()", "optional.none"),
        ("{'a': 1, 'a': 2}", "repeated key"),
        ("quantity('9999999999999999999999G').asInteger()", "cannot convert value to integer"),
        ("quantity('0.5').asInteger()", "cannot convert value to integer"),
        (
            "ip('1.2.3')",
            r'^IP Address "1.2.3" parse error during conversion from string: ParseAddr\("1.2.3"\): IPv4 address too short$',
        ),
        ("ip('fe80::1%eth0')", '^IP Address "fe80::1%eth0" with zone value is not allowed$'),
        ("ip('::ffff:1.2.3.4')", '^IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed$'),
        (
            "cidr('1.2.3.4/033')",
            r'^(network address parse error during conversion from string: ){2}netip.ParsePrefix\("1.2.3.4/033"\): bad bits after slash: "033"$',
        ),
        ("semver('1.2')", "^No Major.Minor.Patch elements found$"),
        ("semver('1.2.3-01')", '^Numeric PreRelease version must not contain leading zeroes "01"$'),
        ("semver('1.02.3')", '^Minor number must not contain leading zeroes "02"$'),
        ("semver('1-rc', true)", "^short version cannot contain PreRelease/Build meta data$"),
        (
            "'%d'.format(['a'])",
            "^error during formatting: decimal clause can only be used on integers, was given string$",
        ),
        (
            "'%f'.format([1])",
            "^error during formatting: fixed-point clause can only be used on doubles, was given int$",
        ),
        ("'%q'.format([1])", '^could not parse formatting clause: unrecognized formatting clause "q"$'),
        (
            "'%.3'.format([1])",
            "^could not parse formatting clause: error while parsing precision: could not find end of precision specifier$",
        ),
        ("'%s %s'.format([1])", "^index 1 out of range$"),
        ("'%s'.format([quantity('1')])", "was given kubernetes.Quantity$"),
        ("int('x')", "type conversion error from 'string' to 'int'"),
        ("int('9223372036854775808')", "type conversion error from 'string' to 'int'"),
        ("uint('-1')", "type conversion error from 'string' to 'uint'"),
        ("double('1_0')", "type conversion error from 'string' to 'double'"),
        ("double(' 1')", "type conversion error from 'string' to 'double'"),
        ("double('1e999')", "type conversion error from 'string' to 'double'"),
        ("bool('yes')", "type conversion error from 'string' to 'bool'"),
        ("timestamp('yester' + 'day')", "type conversion error from 'string' to 'google.protobuf.Timestamp'"),
        ("duration('1' + 'y')", "type conversion error from 'string' to 'google.protobuf.Duration'"),
        ("quantity('1Zz')", "quantities must match|unable to parse"),
        ("'a'.matches('(' + 'b')", "error parsing regexp"),
    ],
)
def test_expression_has_no_value(environment: Environment, text: str, error: str) -> None:
    with pytest.raises(EvaluationError, match=error):
        evaluated(environment, text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("absent", "ERROR: <input>:1:1: undeclared reference to 'absent' (in container '')\n | absent\n | ^"),
        ("n ==\n  nothing", "ERROR: <input>:2:3: undeclared reference to 'nothing' (in container '')\n |   nothing\n | ..^"),
        ("typed.nothing", "<input>:1:6: undefined field 'nothing'"),
        ("n.size", "type 'int' does not support field selection"),
        ("!has(typed.size) || (isMAC(typed.size))", "ERROR: <input>:1:27: undeclared reference to 'isMAC' (in container '')\n | !has(typed.size) || (isMAC(typed.size))\n | ..........................^"),
        ("!has(typed.absent)", "ERROR: <input>:1:5: undefined field 'absent'\n | !has(typed.absent)\n | ....^"),
        ("typed.a__dash__b.size(1)", "ERROR: <input>:1:22: found no matching overload for 'size' applied to 'string.(int)'"),
        ("has(n)", "<input>:1:5: invalid argument to has() macro"),
        ("[n].all(e, e)", "<input>:1:8: found no matching overload for '_&&_' applied to '(bool, int)'"),
        ("[n].exists(e, e)", "<input>:1:11: found no matching overload for '_||_' applied to '(bool, int)'"),
        ("[n].exists_one(e, e) ", "<input>:1:15: found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        ("[n].filter(e, 'a') == []", "<input>:1:11: found no matching overload for '_?_:_' applied to '(string, list(int), list(int))'"),
        ("one + two", "<input>:1:1: undeclared reference to 'one' (in container '')\n | one + two\n | ^\nERROR: <input>:1:7: undeclared"),
        ("n + 'a'", "<input>:1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("n == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("n && true", "found no matching overload for '_&&_' applied to '(int, bool)'"),
        ("'a'.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("n.all(x, true)", "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"),
        ("[1].all(x, x)", "found no matching overload for '_&&_' applied to '(bool, int)'"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("unknown(1)", "undeclared reference to 'unknown' (in container '')"),
        ("has(n)", "invalid argument to has() macro"),
        ("'a'.matches('(')", "invalid matches argument"),
        ("(1", "Syntax error: mismatched input '<EOF>' expecting ')'"),
        ("", "Syntax error: mismatched input '<EOF>'"),
        ("1 2", "Syntax error: extraneous input '2' expecting <EOF>"),
        ("'a", "Syntax error: token recognition error"),
        ("'a\rb'", "Syntax error: token recognition error"),
        ("\u0663", "Syntax error: token recognition error at: '\u0663'"),
        ("0XFF", "Syntax error: extraneous input 'XFF' expecting <EOF>"),
        ("rb'a'", "Syntax error: extraneous input ''a'' expecting <EOF>"),
        ("9223372036854775808", "invalid int literal"),
        ("package", "reserved identifier: package"),
        ("Nothing{a: 1}", "undeclared reference to 'Nothing' (in container '')"),
    ],
)  # fmt: skip
def test_expression_does_not_compile(environment: Environment, text: str, error: str) -> None:
    with pytest.raises(CompileError) as raised:
        environment.compile(text)
    assert error in str(raised.value)


def test_the_type_of_an_expression_is_known_before_it_is_evaluated(environment: Environment) -> None:
    assert str(environment.compile("[1].map(x, {string(x): x > 1})").type) == "list(map(string, bool))"
    assert environment.compile("object.spec.replicas").type == DYN
    assert environment.compile("object.spec.replicas == 1").type == BOOL


def test_sets_and_keyed_lists_are_compared_without_order() -> None:
    from sublet.machinery.cel.values import MapList, SetList, equal

    assert equal(SetList([1, 2]), [2, 1])
    keyed = MapList([{"k": 1, "v": 2}, {"k": 2}], ("k",))
    assert equal(keyed, [{"k": 2}, {"k": 1, "v": 2}])
    assert not equal(keyed, [{"k": 2}, {"k": 1, "v": 3}])


# -- cost --


def nested(depth: int, width: int = 20) -> str:
    numbers = "[" + ", ".join(map(str, range(width))) + "]"
    text = "true"
    for level in range(depth):
        text = f"{numbers}.all(v{level}, {text})"
    return text


def test_nested_loops_are_stopped(environment: Environment) -> None:
    program = environment.compile(nested(12))
    began = time.monotonic()
    with pytest.raises(CostExceeded):
        program.evaluate({})
    assert time.monotonic() - began < 10


def test_growing_strings_are_stopped(environment: Environment) -> None:
    """Each turn of an optMap doubles the text: 2^90 characters if nobody counted."""
    text = "optional.of('abcdefgh')" + ".optMap(x, x + x)" * 45
    with pytest.raises(CostExceeded):
        environment.compile(text).evaluate({})


def test_a_budget_is_shared_by_evaluations(environment: Environment) -> None:
    program, budget = environment.compile(nested(2)), Budget(3000)
    program.evaluate({}, budget)
    with pytest.raises(CostExceeded):
        for _ in range(10):
            program.evaluate({}, budget)
    assert budget.left <= 0


def test_a_hostile_pattern_takes_time_in_proportion_to_the_text(environment: Environment) -> None:
    program = environment.compile("object.text.matches('^(a|aa)+$')")
    began = time.monotonic()
    assert program.evaluate({"object": {"text": "a" * 100_000 + "b"}}) is False
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "1" + ")" * 5000, "!" * 9 + "-" * 9 + "1", "1" + "+1" * 5000, "a" + ".b" * 5000, "[" * 5000, "{1:" * 3000]
)  # fmt: skip
def test_deep_expressions_are_refused(environment: Environment, text: str) -> None:
    with pytest.raises(CompileError):
        environment.compile(text)


def test_long_chains_of_conditions_are_not_deep(environment: Environment) -> None:
    assert evaluated(environment, " && ".join(["n == 7"] * 3000)) is True


def test_the_estimate_follows_the_bounds_of_the_schema() -> None:
    text = "self.all(a, self.all(b, a == b))"
    small = Environment({"self": types.list_of(INT, 10)}).compile(text).estimate
    great = Environment({"self": types.list_of(INT, 1000)}).compile(text).estimate
    unbounded = Environment({"self": types.list_of(INT)}).compile(text).estimate
    assert small < 1000 < great < 10_000_000 < unbounded


@given(st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_evaluation_never_costs_more_than_the_estimate(items: int, letters: int) -> None:
    kind = types.list_of(types.sized("string", 40), 40)
    text = "self.all(a, a.contains('x') || self.exists(b, a + b != 'y' && a.size() <= 40)) && self.map(a, a + a).size() < 99"
    program = Environment({"self": kind}).compile(text)
    budget = Budget(PER_CALL_LIMIT)
    program.evaluate({"self": ["z" * letters] * items}, budget)
    assert PER_CALL_LIMIT - budget.left <= program.estimate


@given(st.text(alphabet="()[]{}.,?:&|!<>=+-*/%'\"`abin019_ \n\\rx", max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_text_compiles_or_says_why_not(text: str) -> None:
    """Neither a crash nor a hang, and what compiles evaluates or says why not."""
    try:
        program = Environment({"a": DYN, "n": INT}).compile(text)
    except CompileError as error:
        assert str(error).startswith("ERROR: <input>:")
        return
    try:
        program.evaluate({"a": {"b": [1]}, "n": 1})
    except (EvaluationError, CostExceeded) as error:
        assert str(error)


V4, V6 = "cidr('192.168.0.0/16')", "cidr('2001:db8::/32')"
LONG = "ip('2001:db8:3333:4444:5555:6666:7777:8888')"


@pytest.mark.parametrize(
    ("text", "estimate", "actual"),
    [
        ("url('https:://kubernetes.io/').getHost()", 4, 4),
        ("url('https:://kubernetes.io/') == url('https:://kubernetes.io/')", 9, 7),
        ("url('https:://kubernetes.io/') == url('http://x.b')", 5, 5),
        ("ip('192.168.0.1')", 2, 2), (LONG, 4, 4), (f"{LONG}.family()", 5, 5), (f"{LONG} == ip('192.168.0.1')", 7, 7),
        ("ip.isCanonical('192.168.0.1')", 3, 3), ("ip.isCanonical('2001:db8:3333:4444:5555:6666:7777:8888')", 8, 8),
        (V4, 2, 2), (f"{V4}.ip()", 3, 3), (f"{V4} == {V6}", 5, 5),
        (f"{V4}.containsCIDR(cidr('192.0.0.0/30'))", 11, 7), (f"{V4}.containsCIDR('192.0.0.0/30')", 11, 7),
        (f"{V4}.containsIP(ip('192.169.0.1'))", 8, 5), (f"{V4}.containsIP('192.0.0.1')", 7, 4),
        (f"{V6}.containsIP({LONG})", 10, 7), (f"{V6}.containsCIDR('2001:db8::/126')", 11, 7),
        ("quantity('200M') == quantity('200M')", 3, 3), ("semver('1234.56789012345.67890123456789')", 4, 4),
        ("format.named('dns1123Subdomain').value().validate('my-name')", 34, 17),
        ("format.named('dns1123Label').value().validate('my-name')", 34, 10),
        ("format.named('dns1123Label').value() == format.named('dns1123Label').value()", 11, 5),
        ("sets.equivalent([1], [1, 1])", 25, 25), ("sets.contains([1, 2, 3, 4], [2, 3])", 29, 29),
        ("{'a': 1, 'b': 2}.exists(k, v, v > 0)", 43, 40), ("[1, 2].exists(i, v, v > 0)", 23, 20),
        ("[1, 2].exists(i, v, v > 1)", 23, 23), ("[1, 2].all(i, v, v > 0)", 21, 21), ("[1, 2].all(i, v, v < 0)", 21, 18),
    ],
)  # fmt: skip
def test_calls_of_libraries_cost_what_they_cost_upstream(text: str, estimate: int, actual: int) -> None:
    program, budget = Environment({}).compile(text), Budget(1000)
    program.evaluate({}, budget)
    assert (program.estimate, 1000 - budget.left) == (estimate, actual)


@pytest.mark.parametrize(
    ("text", "estimate"),
    [
        ("authorizer.path('/healthz')", 2),
        ("authorizer.group('').resource('pods').fieldSelector('spec.nodeName=example-node-name.fully.qualified.domain.name.example.com')", 1821),
        ("authorizer.group('').resource('pods').labelSelector('a')", 64),
        ("authorizer.path('/healthz').check('get').allowed()", 350_003),
    ],
)  # fmt: skip
def test_asking_the_authorizer_costs_what_it_costs_upstream(text: str, estimate: int) -> None:
    found = Environment({"authorizer": types.parse("kubernetes.authorization.Authorizer")}).compile(text)
    assert found.estimate == estimate
