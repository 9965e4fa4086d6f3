"""WebSocket messages and Kubernetes' channels survive the wire, and broken frames are refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import streams
from sublet.machinery.streams import Closed, Message, Ping, Pong, WebSocket, WebSocketError


def client() -> WebSocket:
    keys = itertools.cycle([b"\x01\x02\x03\x04", b"\xff\x00\xaa\x55"])
    return WebSocket(mask=lambda: next(keys))


def test_the_handshake_answers_as_in_the_rfc():
    assert streams.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_frames_are_laid_out_as_in_the_rfc():
    assert WebSocket().send("Hello").hex() == "810548656c6c6f"
    masked = WebSocket(mask=lambda: bytes.fromhex("37fa213d")).send("Hello")
    assert masked.hex() == "818537fa213d7f9f4d5158"
    assert WebSocket().feed(masked) == [Message(b"Hello", text=True)]
    in_parts = bytes.fromhex("010348656c") + bytes.fromhex("80026c6f")
    assert client().feed(in_parts) == [Message(b"Hello", text=True)]


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 50))
def test_messages_may_arrive_in_any_pieces(messages, step):
    data = b"".join(map(client().send, messages))
    server = WebSocket()
    events = [e for i in range(0, len(data), step) for e in server.feed(data[i : i + step])]
    assert events == [Message(m) for m in messages]


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 100_000])
def test_every_form_of_length_is_read(size):
    assert WebSocket().feed(client().send(bytes(size))) == [Message(bytes(size))]
    assert client().feed(WebSocket().send(bytes(size))) == [Message(bytes(size))]


def test_control_frames_may_stand_between_the_parts_of_a_message():
    server = WebSocket()
    data = bytes.fromhex("010348656c") + server.ping(b"p") + server.pong(b"q") + bytes.fromhex("80026c6f")
    assert client().feed(data) == [Ping(b"p"), Pong(b"q"), Message(b"Hello", text=True)]


def test_closing_tells_code_and_reason_and_ends_reading():
    one = client()
    assert one.feed(WebSocket().close(1011, "x" * 200) + WebSocket().send(b"late")) == [
        Closed(1011, "x" * 123)
    ]
    assert one.closed
    assert client().feed(bytes.fromhex("8800")) == [Closed(1005, "")]


@pytest.mark.parametrize(
    "data",
    [
        "810548656c6c6f",
        "c18537fa213d7f9f4d5158",
        "098137fa213d00",
        "838037fa213d",
        "808037fa213d",
        "89fe00ff",
    ],
    ids=["not masked", "extension", "control in parts", "unknown kind", "no first part", "long control"],
)
def test_broken_frames_are_refused(data):
    with pytest.raises(WebSocketError):
        WebSocket().feed(bytes.fromhex(data))


def test_a_server_must_not_mask():
    with pytest.raises(WebSocketError, match="masked"):
        client().feed(client().send(b"x"))


def test_too_long_a_message_is_refused_before_it_has_arrived():
    with pytest.raises(WebSocketError) as caught:
        WebSocket(limit=1000).feed(client().send(bytes(2000))[:10])
    assert caught.value.code == 1009


@given(st.sampled_from(streams.REMOTE_COMMAND_WEBSOCKET), st.integers(0, 4), st.binary(max_size=50))
def test_channels_are_told_apart(protocol, channel, data):
    packed = streams.pack_channel(protocol, channel, data)
    (message,) = WebSocket().feed(client().send(packed))
    assert message.text == streams.is_base64(protocol)
    assert streams.unpack_channel(protocol, message) == (channel, data)


def test_a_message_without_a_channel_is_refused():
    with pytest.raises(WebSocketError):
        streams.unpack_channel("v4.channel.k8s.io", Message(b""))
    with pytest.raises(WebSocketError):
        streams.unpack_channel("base64.channel.k8s.io", Message(b"1?"))


def test_only_v5_can_end_one_channel():
    assert streams.close_channel("v5.channel.k8s.io", streams.STDIN) == b"\xff\x00"
    assert streams.close_channel("v4.channel.k8s.io", streams.STDIN) is None


def test_the_clients_order_of_protocols_counts():
    offered = ["v9.x", "v4.channel.k8s.io", "v5.channel.k8s.io"]
    assert streams.choose_protocol(offered, streams.REMOTE_COMMAND_WEBSOCKET) == "v4.channel.k8s.io"
    assert streams.choose_protocol(["x"], streams.REMOTE_COMMAND_SPDY) is None


@given(st.integers(1, 65535))
def test_forwarded_ports_are_told(port):
    assert streams.port_of(streams.port_data(port)) == port


def test_terminal_sizes_and_exit_statuses():
    assert streams.terminal_size(b'{"Width":80,"Height":24}') == (80, 24)
    assert streams.terminal_size(b"nonsense") is None
    assert streams.exit_status(0)["status"] == "Success"
    assert streams.exit_status(3)["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
