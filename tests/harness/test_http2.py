"""The raw client: the examples of RFC 7541, and a conversation with a peer that is played here."""

import socket
import struct

import pytest

from harness import http2, peer
from harness.http2 import Connection, Directive, End, Kind, Welcome


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours, timeout=5), theirs


def test_integers_as_in_the_examples_of_the_rfc():  # RFC 7541, C.1
    assert http2.integer(10, 5) == b"\x0a"
    assert http2.integer(1337, 5) == b"\x1f\x9a\x0a"
    assert http2.integer(42, 8) == b"\x2a"


def test_header_blocks_are_read_also_with_huffman_codes():
    assert http2.HeaderReader().read(http2.call_headers())[":path"] == http2.ATTACH
    # RFC 7541, C.4.1
    block = bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")
    assert http2.HeaderReader().read(block)[":authority"] == "www.example.com"
    with pytest.raises(ValueError):
        http2.HeaderReader().read(b"\x80")


def test_a_frame_has_length_kind_flags_and_stream():
    assert http2.data(3, b"ab", http2.END_STREAM) == b"\0\0\x02\0\x01\0\0\0\x03ab"
    assert http2.ping()[:9] == b"\0\0\x08\x06\0\0\0\0\0"


def test_messages_are_read_back():
    body = http2.fields(http2.report(300, live=7))
    assert http2.fields(body[2][0]) == {1: [7], 2: [300], 3: [1]}
    with pytest.raises(ValueError):
        http2.fields(http2.hello("cut")[:-1])


def test_what_the_governor_says_and_how_it_ends_is_told(ends):
    connection, governor = ends
    welcome = http2.text(1, http2.text(1, "/a") + http2.number(3, 1) + http2.number(4, 1000))
    directive = http2.text(2, http2.number(1, 9) + http2.number(4, 2) + http2.text(7, http2.number(1, 4096)))
    answers = (http2.headers(1, http2.literal(":status", "200")) + http2.data(1, http2.grpc(welcome)) +
               http2.data(1, http2.grpc(directive)[:7]) + http2.data(1, http2.grpc(directive)[7:]) +
               http2.headers(1, http2.literal("grpc-status", "8"), 0) +
               http2.continuation(1, http2.literal("grpc-message", "too many"), http2.END_HEADERS))
    governor.sendall(answers)
    assert connection.next() == Welcome("/a", "", True, 1000)
    assert connection.next() == Directive(9, 4096, 2)
    assert connection.next() == End("status", 8, "too many")


def test_settings_and_pings_are_answered_and_a_goaway_is_an_end(ends):
    connection, governor = ends
    governor.sendall(http2.settings() + http2.ping() +
                     http2.frame(Kind.GOAWAY, struct.pack(">II", 0, 11) + b"too many pings"))
    assert connection.next() == End("goaway", 11, "too many pings")
    answers = governor.recv(100)
    assert answers == http2.frame(Kind.SETTINGS, flags=http2.ACK) + http2.frame(Kind.PING, b"12345678", flags=http2.ACK)
    governor.close()
    assert connection.until_end() == End("closed")


def test_silence_is_a_timeout(ends):
    with pytest.raises(TimeoutError):
        ends[0].next(timeout=0.01)


def test_the_peer_process_says_why_it_could_not_attach(tmp_path):
    with peer.start("peer", tmp_path, None, tmp_path / "no.sock") as process:
        assert process.ask("probe me", "took_ms", 30)["ended"] == "FileNotFoundError"
        assert process.ask("leave", "left", 30)["left"] == 0
