"""From tokens to syntax: precedence climbing, with the macros expanded on the way."""

from __future__ import annotations

from typing import NoReturn

from sublet.machinery.cel import syntax
from sublet.machinery.cel.errors import CompileError, Issue
from sublet.machinery.cel.lexer import RESERVED, Token, tokens
from sublet.machinery.cel.syntax import Node
from sublet.machinery.cel.values import UInt

MAX_DEPTH = 80
"""Of brackets in each other: what parsing may need of the stack is bounded by it."""
MAX_HEIGHT = 251
"""Of an expression (250 operators in a row): what evaluation may need of the stack is bounded by it."""

_OR, _AND = 0, 1
_LEVELS = {
    "||": _OR, "&&": _AND, "==": 2, "!=": 2, "<": 2, "<=": 2, ">": 2, ">=": 2, "in": 2,
    "+": 3, "-": 3, "*": 4, "/": 4, "%": 4,
}  # fmt: skip
"""How tightly operators bind."""
_ONE_OR_TWO = {"all": "all", "exists": "exists", "exists_one": "existsOne", "existsOne": "existsOne"}


def parse(source: str, *, binds: bool = False) -> Node:
    """The syntax of an expression; ``binds``: it may name parts with ``cel.bind``. Raises ``CompileError``."""
    try:
        return _Parser(source, binds).whole()
    except RecursionError:
        raise CompileError(source[:200], [Issue(0, "expression recursion limit exceeded")]) from None


class _Parser:
    def __init__(self, source: str, binds: bool) -> None:
        self.source = source
        self.binds = binds
        self.tokens = tokens(source)
        self.at = 0
        self.depth = 0

    # -- tokens --

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def fail(self, token_or_offset: Token | int, message: str) -> NoReturn:
        offset = token_or_offset if isinstance(token_or_offset, int) else token_or_offset.offset
        raise CompileError(self.source, [Issue(min(offset, len(self.source)), message)])

    def unexpected(self, wanted: str = "") -> NoReturn:
        token = self.token
        if wanted:
            self.fail(token, f"Syntax error: mismatched input '{token.text}' expecting {wanted}")
        self.fail(token, f"Syntax error: mismatched input '{token.text}' expecting {{'[', '{{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}}")  # fmt: skip

    def take(self, text: str) -> Token | None:
        token = self.token
        if token.text == text and token.kind in ("op", "ident"):
            self.at += 1
            return token
        return None

    def expect(self, text: str) -> Token:
        found = self.take(text)
        if found is None:
            self.unexpected(f"'{text}'")
        return found

    def name(self) -> str:
        token = self.token
        if token.kind == "quoted":
            self.at += 1
            return str(token.value)
        if token.kind != "ident" or token.text in ("in", "true", "false", "null"):
            self.unexpected("IDENTIFIER")
        self.at += 1
        return token.text

    # -- expressions --

    def whole(self) -> Node:
        found = self.expression()
        if self.token.kind != "end":
            alone = self.tokens[self.at + 1].kind == "end"
            what = "extraneous" if alone else "mismatched"
            self.fail(self.token, f"Syntax error: {what} input '{self.token.text}' expecting <EOF>")
        if _height(found) > MAX_HEIGHT:
            self.fail(0, "max recursion depth exceeded")
        return found

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(self.token, f"expression recursion limit exceeded: {MAX_DEPTH}")
        condition = self.binary(_OR)
        mark = self.take("?")
        if mark is not None:
            yes = self.binary(_OR)
            self.expect(":")
            condition = syntax.Conditional(mark.offset, condition, yes, self.expression())
        self.depth -= 1
        return condition

    def binary(self, lowest: int) -> Node:
        """Operators that bind at least as tightly as ``lowest``."""
        left = self.unary()
        while True:
            operator = self.token
            level = _LEVELS.get(operator.text, -1) if operator.kind in ("op", "ident") else -1
            if level < lowest:
                return left
            if level <= _AND:
                left = self.logical(left, level)
                continue
            self.at += 1
            right = self.binary(level + 1)
            function = "@in" if operator.text == "in" else f"_{operator.text}_"
            left = syntax.Call(operator.offset, function, None, [left, right])

    def logical(self, first: Node, level: int) -> Node:
        """All parts of one chain, which so is not deep."""
        operator = self.token
        parts = [first]
        while self.take(operator.text) is not None:
            parts.append(self.binary(level + 1))
        return syntax.Logical(operator.offset, operator.text, parts)

    def unary(self) -> Node:
        token = self.token
        if token.kind != "op" or token.text not in ("!", "-"):
            return self.member()
        self.at += 1
        count = 1
        while self.take(token.text) is not None:
            count += 1
        after = self.token
        if token.text == "-" and count == 1 and after.kind in ("int", "float"):
            operand = self.member(negative=True)
        else:
            operand = self.member()
            if count % 2:
                operand = syntax.Call(token.offset, "!_" if token.text == "!" else "-_", None, [operand])
        return operand

    def member(self, *, negative: bool = False) -> Node:
        node = self.primary(negative)
        steps = 0
        while True:
            steps += 1
            if steps > MAX_DEPTH:
                self.fail(self.token, f"expression recursion limit exceeded: {MAX_DEPTH}")
            token = self.token
            if self.take("."):
                optional = self.take("?") is not None
                quoted = self.token.kind == "quoted"
                name = self.name()
                opening = None if optional or quoted else self.take("(")
                if opening is not None:
                    node = self.call(opening.offset, name, node)
                else:
                    node = syntax.Select(token.offset, node, name, optional=optional)
            elif self.take("["):
                function = "_[?_]" if self.take("?") else "_[_]"
                node = syntax.Call(token.offset, function, None, [node, self.expression()])
                self.expect("]")
            elif token.text == "{" and token.kind == "op" and syntax.qualified_name(node):
                node = self.construct(node)
            else:
                return node

    def primary(self, negative: bool) -> Node:
        token = self.token
        self.at += 1
        if token.kind in ("int", "uint", "float", "string", "bytes"):
            return self.literal(token, negative)
        if token.kind == "ident":
            if token.text in ("true", "false", "null"):
                return syntax.Literal(token.offset, {"true": True, "false": False, "null": None}[token.text])
            if token.text in RESERVED:
                self.fail(token, f"reserved identifier: {token.text}")
            if token.text != "in":
                opening = self.take("(")
                if opening is not None:
                    return self.call(opening.offset, token.text, None)
                return syntax.Ident(token.offset, token.text)
        elif token.kind == "op":
            if token.text == "(":
                inner = self.expression()
                self.expect(")")
                return inner
            if token.text == "[":
                return self.list_of(token.offset)
            if token.text == "{":
                return self.map_of(token.offset)
            if token.text == ".":
                name = self.name()
                opening = self.take("(")
                if opening is not None:
                    return self.call(opening.offset, name, None)
                return syntax.Ident(token.offset, name)
        self.at -= 1
        self.unexpected()

    def literal(self, token: Token, negative: bool) -> Node:
        value = token.value
        if token.kind == "uint":
            return syntax.Literal(token.offset, UInt(value))
        if token.kind == "int" and not negative and value == 2**63:
            self.fail(token, "invalid int literal")
        return syntax.Literal(token.offset, -value if negative else value)

    def arguments(self, closing: str) -> list[Node]:
        found: list[Node] = []
        while self.take(closing) is None:
            if found:
                self.expect(",")
                if closing != ")" and self.take(closing):
                    break
            found.append(self.expression())
        return found

    def list_of(self, offset: int) -> Node:
        items: list[Node] = []
        optional: set[int] = set()
        while self.take("]") is None:
            if items:
                self.expect(",")
                if self.take("]"):
                    break
            if self.take("?"):
                optional.add(len(items))
            items.append(self.expression())
        return syntax.ListOf(offset, items, frozenset(optional))

    def map_of(self, offset: int) -> Node:
        entries: list[tuple[Node, Node, bool]] = []
        while self.take("}") is None:
            if entries:
                self.expect(",")
                if self.take("}"):
                    break
            optional = self.take("?") is not None
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression(), optional))
        return syntax.MapOf(offset, entries)

    def construct(self, node: Node) -> Node:
        offset = self.expect("{").offset
        fields: list[tuple[str, Node, bool]] = []
        while self.take("}") is None:
            if fields:
                self.expect(",")
                if self.take("}"):
                    break
            optional = self.take("?") is not None
            name = self.name()
            self.expect(":")
            fields.append((name, self.expression(), optional))
        return syntax.Construct(offset, syntax.qualified_name(node), fields)

    # -- macros --

    def call(self, offset: int, name: str, target: Node | None) -> Node:
        """A call or what a macro stands for; its place is that of its bracket."""
        arguments = self.arguments(")")
        expanded = self.macro(offset, name, target, arguments)
        return syntax.Call(offset, name, target, arguments) if expanded is None else expanded

    def macro(self, offset: int, name: str, target: Node | None, arguments: list[Node]) -> Node | None:
        count = len(arguments)
        if target is None:
            return self.has(offset, arguments[0]) if name == "has" and count == 1 else None
        if name in _ONE_OR_TWO and count in (2, 3) and not (name == "exists_one" and count == 3):
            return self.over(offset, _ONE_OR_TWO[name], target, arguments, two=count == 3)
        if name == "map" and count in (2, 3):
            return self.over(offset, "map", target, arguments, two=False, filtered=count == 3)
        if name == "filter" and count == 2:
            return self.over(offset, "filter", target, arguments, two=False)
        if name in ("transformList", "transformMap", "transformMapEntry") and count in (3, 4):
            return self.over(offset, name, target, arguments, two=True, filtered=count == 4)
        if self.binds and name == "bind" and count == 3 and syntax.qualified_name(target) == "cel":
            if not isinstance(arguments[0], syntax.Ident):
                self.fail(arguments[0].offset, "cel.bind() variable names must be simple identifiers")
            return syntax.Bind(offset, arguments[0].name, arguments[1], arguments[2])
        if name in ("optMap", "optFlatMap") and count == 2:
            return syntax.Bind(offset, self.variable(arguments[0], name), target, arguments[1], name)
        return None

    def has(self, offset: int, argument: Node) -> Node:
        if not isinstance(argument, syntax.Select) or argument.optional:
            self.fail(argument.offset, "invalid argument to has() macro")
        argument.test, argument.offset = True, offset
        return argument

    def variable(self, node: Node, macro: str) -> str:
        if not isinstance(node, syntax.Ident):
            self.fail(node.offset, f"{macro}() variable name must be a simple identifier" if macro in ("optMap", "optFlatMap") else "argument must be a simple name")  # fmt: skip
        return node.name

    def over(
        self,
        offset: int,
        kind: str,
        target: Node,
        arguments: list[Node],
        *,
        two: bool,
        filtered: bool = False,
    ) -> Node:
        first = self.variable(arguments[0], kind)
        second = self.variable(arguments[1], kind) if two else ""
        if first == second:
            self.fail(arguments[1].offset, f"duplicate variable name: {first}")
        condition = arguments[1 + two] if filtered else None
        return syntax.Comprehension(offset, kind, target, first, second, condition, arguments[-1])


def _height(root: Node) -> int:
    """How deep the syntax is; found without recursion."""
    deepest, level = 0, [root]
    while level:
        deepest += 1
        if deepest > MAX_HEIGHT:
            break
        level = [child for node in level for child in node.children()]
    return deepest
