"""The rules one by one: scopes, hosts, origins, rates, and what a command line makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import UsageError
from index.layout import Layout
from service.access.hosts import Hosts, check_name, is_loopback, plan_hosts
from service.access.keys import create_key
from service.access.origins import check_origin, is_trusted
from service.access.policy import AccessOptions, plan_access
from service.access.rates import RateLimiter, name_address
from service.access.scopes import Scope, is_shell, needed_scope


def test_scopes_include_those_below() -> None:
    assert [[a.includes(b) for b in Scope] for a in Scope] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/index", Scope.READ),
        ("GET", "/v1/items/3/image", Scope.READ),
        ("GET", "/metrics", Scope.READ),
        ("GET", "/docs", Scope.READ),
        ("POST", "/v1/search", Scope.READ),
        ("POST", "/v1/search/batch", Scope.READ),
        ("POST", "/v1/classify", Scope.READ),
        ("POST", "/v1/searches", Scope.ADMIN),
        ("POST", "/v1/items", Scope.WRITE),
        ("PATCH", "/v1/items/3", Scope.WRITE),
        ("DELETE", "/v1/items/3", Scope.WRITE),
        ("POST", "/v1/index/compact", Scope.ADMIN),
        ("POST", "/v1/index/reload", Scope.ADMIN),
        ("POST", "/v1/something/new", Scope.ADMIN),
        ("BREW", "/v1/pot", Scope.ADMIN),
    ],
)
def test_the_scope_that_an_address_asks_for(method: str, path: str, scope: Scope) -> None:
    assert needed_scope(method, path) is scope
    assert not is_shell(method, path)


def test_the_shell_is_the_page_without_data() -> None:
    for path in ("/", "/healthz", "/readyz", "/static/page.js"):
        assert is_shell("GET", path)
        assert not is_shell("POST", path)
    for path in ("/metrics", "/docs", "/openapi.json", "/static", "/v1/items/1/thumbnail", "//", "/healthz/"):
        assert not is_shell("GET", path)


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "LOCALHOST.", "127.0.0.1:1", "127.9.9.9", "[::1]:80"])
def test_loopback_is_called_by_its_names(host: str) -> None:
    assert Hosts().allows(host)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "localhost.evil.example",
            "evil.example:8000",
            "192.168.1.5",
            "10.0.0.1:8000",
            "[2001:db8::1]",
        ),
        *(
            "",
            " ",
            "localhost/x",
            "evil@localhost",
            "localhost:x",
            "localhost:1:2",
            "127.0.0.1.evil.example",
            "0.0.0.0",
        ),
        *("[::1", "::1]", "localhost, evil.example", "127.1"),
    ],
)
def test_loopback_is_called_by_no_other(host: str) -> None:
    assert not Hosts().allows(host)


def test_a_service_on_a_network_is_called_by_addresses_and_named_hosts() -> None:
    hosts = plan_hosts("0.0.0.0", ["Search.Example.com", "*.shop.example"])
    for name in ("192.168.1.5:8000", "[2001:db8::1]", "search.example.com", "eu.shop.example:443", "localhost"):
        assert hosts.allows(name), name
    for name in ("evil.example", "shop.example", "evilshop.example", "search.example.com.evil.example"):
        assert not hosts.allows(name), name


@given(st.text(max_size=40))
def test_any_host_header_is_answered(host: str) -> None:
    assert Hosts().allows(host) in (True, False)
    assert is_trusted(host, None, host, ()) in (True, False)


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.0.2", "::ffff:10.0.0.1", "fe80::1%eth0", "name"]))


@pytest.mark.parametrize("name", ["", "a b", "https://a.example", "a.example:80", "*", "*.*.example", "a/b"])
def test_an_allowed_host_is_a_name(name: str) -> None:
    with pytest.raises(UsageError, match="--allowed-host"):
        check_name(name)


@pytest.mark.parametrize(
    "origin", ["", "shop.example", "https://", "https://a.example/path", "ftp://a.example", "null"]
)
def test_a_cors_origin_is_an_origin(origin: str) -> None:
    with pytest.raises(UsageError, match="--cors-origin"):
        check_origin(origin)


@pytest.mark.parametrize(
    ("origin", "site", "trusted"),
    [
        (None, None, True),  # no browser
        ("http://127.0.0.1:8000", None, True),
        ("http://127.0.0.1:8000", "same-origin", True),
        (None, "none", True),
        ("https://evil.example", None, False),
        ("http://127.0.0.1:9000", None, False),  # another service of this machine
        ("http://localhost:8000", None, False),
        ("http://127.0.0.1:8000.evil.example", None, False),
        ("http://127.0.0.1:8000@evil.example", None, False),
        ("null", None, False),
        ("", None, False),
        ("http://[", None, False),  # no address at all
        ("http://[x]", None, False),
        ("http://a]b", None, False),
        ("http://127.0.0.1:8000", "cross-site", False),
        ("https://evil.example", "cross-site", False),
        (None, "same-site", False),
        ("https://shop.example", "cross-site", True),  # named
        ("https://shop.example.evil.example", None, False),
    ],
)
def test_who_may_send_what_is_not_safe(origin: str | None, site: str | None, trusted: bool) -> None:
    assert is_trusted(origin, site, "127.0.0.1:8000", ("https://shop.example",)) is trusted


def test_behind_a_proxy_that_ends_tls_the_origin_is_still_ours() -> None:
    assert is_trusted("https://search.example.com", None, "search.example.com", ())
    assert is_trusted("https://search.example.com", None, "search.example.com:443", ())


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_bucket_lets_a_burst_through_and_then_the_rate(clock: Clock) -> None:
    limiter = RateLimiter(2.0, 3, clock)
    assert [limiter.take("a") for _ in range(5)] == [0, 0, 0, 1, 1]
    assert limiter.take("b") == 0  # callers do not share
    clock.now += 0.5
    assert [limiter.take("a"), limiter.take("a")] == [0, 1]
    clock.now += 100
    assert [limiter.take("a") for _ in range(4)] == [0, 0, 0, 1]


def test_retry_after_is_long_enough(clock: Clock) -> None:
    limiter = RateLimiter(0.1, 1, clock)
    assert limiter.take("a") == 0
    assert limiter.take("a") == 10
    clock.now += 10
    assert limiter.take("a") == 0


def test_what_is_remembered_is_bounded(clock: Clock) -> None:
    limiter = RateLimiter(1.0, 1, clock)
    for number in range(30_000):
        limiter.take(str(number))
    assert len(limiter._buckets) == 10_000


def test_an_ipv6_client_counts_by_its_network() -> None:
    assert name_address("2001:db8::1") == name_address("2001:db8::ffff:1") != name_address("2001:db8:0:1::1")
    assert name_address("192.0.2.1") == "192.0.2.1"
    assert name_address("") == ""


def test_a_network_asks_for_keys_and_loopback_does_not(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert not plan_access(layout, "127.0.0.1", AccessOptions()).keys
    assert not plan_access(layout, "0.0.0.0", AccessOptions(allow_open=True)).keys
    for listening, options in (
        ("0.0.0.0", AccessOptions()),
        ("::", AccessOptions()),
        ("127.0.0.1", AccessOptions(require_key=True)),
    ):
        with pytest.raises(UsageError, match=r"crossmatch key create.*--(allow-open|require-key)") as raised:
            plan_access(layout, listening, options)
        assert raised.value.exit_code == 2
    with pytest.raises(UsageError, match="opposites"):
        plan_access(layout, "0.0.0.0", AccessOptions(allow_open=True, require_key=True))


def test_the_burst_follows_the_rate(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert plan_access(layout, "127.0.0.1", AccessOptions(rate=1)).burst == 60
    assert plan_access(layout, "127.0.0.1", AccessOptions(rate=100)).burst == 200
    assert plan_access(layout, "127.0.0.1", AccessOptions(rate=100, burst=1)).burst == 1


def test_an_expired_key_opens_no_service(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.catalog.touch()
    create_key(layout, Scope.READ, days=1)
    assert plan_access(layout, "0.0.0.0", AccessOptions()).keys
    text = layout.keys.read_text().replace('"expires": "2', '"expires": "1')
    layout.keys.write_text(text)
    with pytest.raises(UsageError, match="there is none"):
        plan_access(layout, "0.0.0.0", AccessOptions())
