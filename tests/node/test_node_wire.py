"""The messages of CRI: their encoding, and that they are those of the runtime here."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
import zlib
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.node import crimessages
from sublet.node.wire import Message, WireError, fields


@dataclasses.dataclass(slots=True)
class Inner(Message):
    value: Annotated[int, 1] = 0


@dataclasses.dataclass(slots=True)
class Outer(Message):
    text: Annotated[str, 1] = ""
    data: Annotated[bytes, 2] = b""
    number: Annotated[int, 3] = 0
    flag: Annotated[bool, 4] = False
    inner: Annotated[Inner | None, 5] = None
    numbers: Annotated[list[int], 6] = dataclasses.field(default_factory=list)
    texts: Annotated[list[str], 7] = dataclasses.field(default_factory=list)
    inners: Annotated[list[Inner], 16] = dataclasses.field(default_factory=list)
    pairs: Annotated[dict[str, str], 2000] = dataclasses.field(default_factory=dict)


_numbers = st.integers(-(1 << 63), (1 << 63) - 1)
_texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(
    st.builds(
        Outer, _texts, st.binary(max_size=300), _numbers, st.booleans(), st.none() | st.builds(Inner, _numbers),
        st.lists(_numbers, max_size=4), st.lists(_texts, max_size=4), st.lists(st.builds(Inner, _numbers), max_size=3),
        st.dictionaries(_texts, _texts, max_size=3),
    )
)  # fmt: skip
def test_what_is_encoded_is_decoded_again(message: Outer) -> None:
    assert Outer.decode(message.encode()) == message


def test_known_bytes() -> None:
    """As in protobuf.dev's own examples: 150 as a varint, "testing" as a string."""
    assert Inner(150).encode() == bytes.fromhex("089601")
    assert Outer(text="testing").encode() == b"\x0a\x07testing"
    assert Outer.decode(bytes.fromhex("1a0103")[:0]) == Outer()


def test_unknown_fields_are_skipped() -> None:
    assert Inner.decode(Outer(text="x", data=b"y", number=7).encode()[6:]) == Inner()


@pytest.mark.parametrize("data", ["0a05", "08", "0b", "08" + "ff" * 11])
def test_broken_bytes_are_refused(data: str) -> None:
    with pytest.raises(WireError):
        Outer.decode(bytes.fromhex(data))


@pytest.mark.containers
@pytest.mark.skipif(not shutil.which("containerd"), reason="needs containerd (apt-get install containerd)")
def test_messages_are_those_of_the_installed_containerd() -> None:
    """Every field's name, number and type against the descriptor that containerd's binary carries."""
    found = _descriptor(Path(shutil.which("containerd") or ""))
    for name, cls in inspect.getmembers(crimessages, inspect.isclass):
        if not issubclass(cls, Message) or cls is Message:
            continue
        for field in fields(cls):
            theirs = found[name][field.number]
            assert theirs[0] == field.name, f"{name}.{field.name}"
            assert theirs[1] == _type(field), f"{name}.{field.name}"


def _type(field: Any) -> str:
    kind = field.message.__name__ if field.message is not None else field.kind
    return f"repeated {kind}" if field.repeated else str(kind)


_INTS = ("TYPE_INT32", "TYPE_INT64", "TYPE_UINT32", "TYPE_UINT64", "TYPE_ENUM")


def _descriptor(binary: Path) -> dict[str, dict[int, tuple[str, str]]]:
    from google.protobuf import descriptor_pb2
    from google.protobuf.message import DecodeError

    data = binary.read_bytes()
    kinds = descriptor_pb2.FieldDescriptorProto.Type
    for match in re.finditer(rb"\x1f\x8b\x08\x00", data):
        try:
            raw = zlib.decompressobj(31).decompress(data[match.start() : match.start() + 400_000])
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
        except (zlib.error, DecodeError):  # most places that look like gzip are none
            continue
        if file.package == "runtime.v1":
            break
    else:
        raise AssertionError("no descriptor of runtime.v1 in containerd")
    found: dict[str, dict[int, tuple[str, str]]] = {}
    for message in file.message_type:
        for field in message.field:
            kind = kinds.Name(field.type)
            name = field.type_name.rpartition(".")[2]
            if name.endswith("Entry"):
                shown = "map"
            elif kind == "TYPE_MESSAGE":
                shown = name
            else:
                plain = {"TYPE_STRING": "str", "TYPE_BYTES": "bytes", "TYPE_BOOL": "bool"}
                shown = "int" if kind in _INTS else plain[kind]
            repeated = field.label == 3 and shown != "map"
            found.setdefault(message.name, {})[field.number] = (
                field.name,
                f"repeated {shown}" if repeated else shown,
            )
    return found
