"""Two ends of a SPDY/3.1 connection understand each other, however the bytes are cut."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import spdy
from sublet.machinery.spdy import (
    SPDY,
    DataReceived,
    GoAwayReceived,
    HeadersReceived,
    PingReceived,
    SettingsReceived,
    SPDYError,
    StreamOpened,
    StreamReplied,
    StreamReset,
    WindowUpdated,
)


def test_the_dictionary_is_the_published_one():
    assert len(spdy.DICTIONARY) == 1423 and zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


def test_a_stream_is_opened_answered_used_and_ended():
    client, server = SPDY(client=True), SPDY(client=False)
    stream, opening = client.open_stream({"streamType": "error", "port": "80", "requestID": "0"}, fin=True)
    assert stream == 1
    (opened,) = server.feed(opening)
    assert opened == StreamOpened(1, {"streamtype": "error", "port": "80", "requestid": "0"}, fin=True)
    assert client.feed(server.reply(1)) == [StreamReplied(1, {})]
    assert client.feed(server.data(1, b"hello", fin=True)) == [DataReceived(1, b"hello", fin=True)]


def test_ids_count_by_two_from_each_side():
    client, server = SPDY(client=True), SPDY(client=False)
    assert [client.open_stream({})[0] for _ in range(3)] == [1, 3, 5]
    assert [server.open_stream({})[0] for _ in range(2)] == [2, 4]


def test_headers_are_compressed_with_what_went_before():
    client, server = SPDY(client=True), SPDY(client=False)
    first = client.open_stream({"streamtype": "data", "port": "8080"})[1]
    second = client.open_stream({"streamtype": "data", "port": "8080"})[1]
    assert len(second) < len(first)
    assert [e.headers["port"] for e in server.feed(first + second)] == ["8080", "8080"]


def test_the_other_frames():
    client, server = SPDY(client=True), SPDY(client=False)
    number, ping = client.ping()
    (received,) = server.feed(ping)
    assert isinstance(received, PingReceived) and received.id == number == 1
    assert client.feed(received.reply) == [PingReceived(1, b"")]
    data = client.reset(3, spdy.CANCEL) + client.go_away(5, 0) + client.window_update(1, 65536)
    data += client.headers(1, {"a": "b"}, fin=True) + client.settings({7: 1000})
    assert server.feed(data) == [
        StreamReset(3, spdy.CANCEL),
        GoAwayReceived(5, 0),
        WindowUpdated(1, 65536),
        HeadersReceived(1, {"a": "b"}, fin=True),
        SettingsReceived({7: 1000}),
    ]


def test_a_frame_is_laid_out_as_specified():
    assert SPDY(client=True).data(1, b"ab", fin=True).hex() == "00000001010000026162"
    assert SPDY(client=True).reset(1, 5).hex() == "80030003000000080000000100000005"
    assert SPDY(client=True).open_stream({})[1][18:24].hex().startswith("78")


def test_long_data_takes_several_frames():
    big = bytes(1 << 24)
    events = SPDY(client=False).feed(SPDY(client=True).data(1, big, fin=True))
    assert [(len(e.data), e.fin) for e in events] == [((1 << 24) - 1, False), (1, True)]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.integers(1, 20))
def test_frames_may_arrive_in_any_pieces(messages, step):
    client, server = SPDY(client=True), SPDY(client=False)
    data = client.open_stream({"a": "b"})[1] + b"".join(client.data(1, m) for m in messages)
    events = [e for i in range(0, len(data), step) for e in server.feed(data[i : i + step])]
    assert [e.data for e in events[1:]] == messages


@pytest.mark.parametrize("data", ["8002000100000000", "80030001000000040000000a", "800300030000000400000001"])
def test_broken_frames_are_an_error(data):
    with pytest.raises(SPDYError):
        SPDY(client=False).feed(bytes.fromhex(data))


def test_a_bomb_in_headers_is_refused():
    client, server = SPDY(client=True), SPDY(client=False)
    with pytest.raises(SPDYError, match="longer than"):
        server.feed(client.open_stream({"a": "x" * 300_000})[1])


def test_unknown_frames_are_ignored():
    assert SPDY(client=False).feed(bytes.fromhex("8003000c0000000400000001")) == []
