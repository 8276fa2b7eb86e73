"""Callbacks go to public addresses alone, whatever a name resolves to at which moment."""

import socket
import threading
import time

import pytest

from endpoint.asynchronous import addresses, callbacks
from endpoint.asynchronous.addresses import (
    AllowedTargets,
    RefusedAddressError,
    addresses_to_call,
    refuse_at_once,
    target_of,
)
from endpoint.asynchronous.callbacks import NoAnswerError, call
from msgmetrics.errors import UserError

NOTHING = AllowedTargets.of("")


@pytest.fixture
def body(tmp_path):
    path = tmp_path / "body.json"
    path.write_bytes(b'{"requestId": "r1"}')
    return path


def resolving(monkeypatch, *answers):
    """Have names resolve to one list of addresses after the other, the last one from then on."""
    asked = []
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **named):
        if not host.endswith(".example"):
            return real(host, port, *arguments, **named)
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        families = [socket.AF_INET6 if ":" in ip else socket.AF_INET for ip in found]
        return [
            (family, socket.SOCK_STREAM, 6, "", (ip, port))
            for family, ip in zip(families, found, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://LOCALHOST./", "http://127.1/",
        "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://0/",
        "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:a00:1]/",
        "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://10.1.2.3/",
        "http://172.16.0.1/", "http://192.168.1.1:8080/", "http://169.254.169.254/latest",
        "http://[fe80::1]/", "http://[fd00:ec2::254]/", "http://100.100.100.200/",
        "http://168.63.129.16/", "http://192.0.0.192/", "http://224.0.0.1/",
        "http://255.255.255.255/", "http://[ff02::1]/", "http://[fec0::1]/",
    ],
)  # fmt: skip
def test_internal_addresses_are_refused_in_every_spelling(url):
    with pytest.raises(RefusedAddressError):
        refuse_at_once(target_of(url), NOTHING)


@pytest.mark.parametrize(
    "url",
    [
        "", "/path", "example.com", "ftp://example.com/", "file:///etc/passwd", "http://",
        "http:///x", "https://user@example.com/", "https://user:pass@example.com/",
        "https://example.com\\@127.0.0.1/", "https://example.com/ x",
        "https://example.com/\r\nX: y",
        "https://example.com/\0", "https://example.com:0/", "https://example.com:99999/",
        "https://example.com:x/", "https://[::1/", "gopher://example.com",
        "https://example.com/" + "x" * 3_000, "http://%31%32%37.0.0.1/", "http://[::1%25lo]/",
        "http://[fe80::1%25eth0]/", "http://-/", "http://a,b/",
    ],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(RefusedAddressError):
        target_of(url)


@pytest.mark.parametrize("url", ["https://8.8.8.8/", "http://[2606:4700:4700::1111]:8080/x?y=z"])
def test_public_addresses_are_taken(url):
    refuse_at_once(target_of(url), NOTHING)


def test_a_name_that_leads_inside_is_refused_when_the_request_is_taken(monkeypatch):
    resolving(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(RefusedAddressError):
        refuse_at_once(target_of("https://both.example/"), NOTHING)


def test_a_name_that_does_not_resolve_is_judged_later(monkeypatch):
    def fails(*_, **__):
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    target = target_of("https://nowhere.example/")
    refuse_at_once(target, NOTHING)
    with pytest.raises(OSError):
        addresses_to_call(target, NOTHING, seconds=1)


def test_names_of_requests_that_nobody_answers_for_hold_up_no_call(monkeypatch):
    answered = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **named):
        if host.startswith("slow"):
            answered.wait(60)
        return real("127.0.0.1", port, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    allowed = AllowedTargets.of("127.0.0.1")
    slow = target_of("https://slow.example/")
    monkeypatch.setattr(addresses, "_REQUEST_SECONDS", 0.01)
    try:
        # More than there are threads for such names.
        for _ in range(12):
            refuse_at_once(slow, allowed)
        fast = target_of("https://fast.example/")
        assert addresses_to_call(fast, allowed, seconds=60) == ["127.0.0.1"]
    finally:
        answered.set()


def test_a_name_that_is_rebound_after_the_check_leads_nowhere(monkeypatch, receiver, body):
    asked = resolving(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    url = f"http://rebound.example:{receiver.port}/"
    refuse_at_once(target_of(url), NOTHING)
    with pytest.raises(NoAnswerError, match="RefusedAddressError"):
        call(url, body, NOTHING)
    assert len(asked) == 2
    assert receiver.bodies == []


def test_the_call_goes_to_the_address_that_was_judged(monkeypatch, receiver, body):
    # Were the name resolved once more to connect, it would lead elsewhere.
    asked = resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    allowed = AllowedTargets.of("127.0.0.1")
    url = f"http://once.example:{receiver.port}/a?b=c"
    assert call(url, body, allowed) == 204
    assert asked == ["once.example"]
    assert receiver.headers[0]["Host"] == f"once.example:{receiver.port}"
    assert receiver.paths == ["/a?b=c"]


def test_a_call_goes_to_the_next_address_where_one_does_not_answer(monkeypatch, receiver, body):
    # Nobody listens at the first two.
    resolving(monkeypatch, ["127.0.0.3", "127.0.0.2", "127.0.0.1"])
    allowed = AllowedTargets.of("127.0.0.0/8")
    assert call(f"http://three.example:{receiver.port}/", body, allowed) == 204
    resolving(monkeypatch, ["127.0.0.3", "127.0.0.2"])
    with pytest.raises(NoAnswerError):
        call(f"http://three.example:{receiver.port}/", body, allowed)


def test_proxies_of_the_environment_are_not_used(monkeypatch, receiver, body):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert call(receiver.url, body, AllowedTargets.of("127.0.0.1")) == 204


@pytest.mark.parametrize(
    ("allowed", "host", "port", "is_allowed"),
    [
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("127.0.0.1:81", "127.0.0.1", 80, False),
        ("127.0.0.1:80", "127.0.0.1", 80, True),
        ("10.0.0.0/8, 127.0.0.0/8", "127.9.9.9", 80, True),
        ("10.0.0.0/8", "127.0.0.1", 80, False),
        ("localhost", "localhost", 80, True),
        ("localhost:8080", "localhost", 80, False),
        ("LocalHost:8080", "localhost", 8080, True),
        ("::1", "[::1]", 80, True),
        ("[::1]:80", "[::1]", 80, True),
        ("[::1]:81", "[::1]", 80, False),
        ("other.example", "127.0.0.1", 80, False),
        (" , ,", "127.0.0.1", 80, False),
    ],
)
def test_the_operators_list_makes_exceptions(allowed, host, port, is_allowed):
    target = target_of(f"http://{host}:{port}/")
    if is_allowed:
        refuse_at_once(target, AllowedTargets.of(allowed))
        assert addresses_to_call(target, AllowedTargets.of(allowed), seconds=5)
    else:
        with pytest.raises(RefusedAddressError):
            refuse_at_once(target, AllowedTargets.of(allowed))


@pytest.mark.parametrize("entry", ["http://x", "a b", "10.0.0.0/99", "host:port", "*", ":80"])
def test_an_entry_that_is_none_is_a_sentence_for_the_operator(entry):
    with pytest.raises(UserError, match="MSGMETRICS_CALLBACK_ALLOW"):
        AllowedTargets.of(entry)


def test_an_answer_without_end_is_not_read_and_a_slow_one_is_given_up(monkeypatch, receiver, body):
    allowed = AllowedTargets.of("127.0.0.1")

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)

    def slow(handler):
        while True:
            handler.wfile.write(b"H")
            time.sleep(0.05)

    receiver.behaviour = endless
    assert call(receiver.url, body, allowed) == 200
    monkeypatch.setattr(callbacks, "CALL_SECONDS", 0.5)
    receiver.behaviour = slow
    with pytest.raises(NoAnswerError):
        call(receiver.url, body, allowed)


def test_what_is_no_http_or_not_there_is_no_answer(receiver, body):
    allowed = AllowedTargets.of("127.0.0.1")
    receiver.behaviour = lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    with pytest.raises(NoAnswerError):
        call(receiver.url, body, allowed)
    with pytest.raises(NoAnswerError):
        call(receiver.url.replace("http:", "https:"), body, allowed)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(NoAnswerError):
        call(f"http://127.0.0.1:{port}/", body, allowed)
