"""The dial plan, and the service that answers from it."""

import msgspec
import pytest

from telephony.config import Jobs, Route, RoutingConfiguration
from telephony.core import Job
from telephony.effects import Ask, Reply
from telephony.jobs.resource import Binding, Bound, Lookup
from telephony.jobs.routing import HOPS_MAX, Decision, Target
from telephony.jobs.routing import Route as Request
from telephony.routing.core import Routing
from telephony.routing.plan import Plan, matches

ROUTES = [
    Route(pattern="30XX", action="conference"),
    Route(pattern="4000", action="queue"),
    Route(pattern="9196", action="echo"),
    Route(pattern="91XX", action="music", target="slow"),
    Route(pattern="9199", action="echo"),
]


@pytest.mark.parametrize(
    ("pattern", "user", "result"),
    [
        ("30XX", "3000", True),
        ("30XX", "3099", True),
        ("30XX", "30a0", False),
        ("30XX", "30٣0", False),
        ("30XX", "300", False),
        ("30XX", "30000", False),
        ("4000", "4000", True),
        ("X", "X", True),
        ("", "", True),
    ],
)
def test_patterns(pattern: str, user: str, result: bool) -> None:
    assert matches(pattern, user) is result


@pytest.mark.parametrize(
    ("user", "result"),
    [
        ("1001", ("user", "1001")),
        ("3042", ("conference", "3042")),
        ("9196", ("echo", "9196")),
        ("9150", ("music", "slow")),
        ("9199", ("music", "slow")),
        ("5555", None),
        ("", None),
    ],
)
def test_first_match_wins_and_users_come_first(user: str, result: tuple[str, str] | None) -> None:
    assert Plan(["1001", "3000"], ROUTES).find(user) == result


def test_a_user_is_found_before_a_route() -> None:
    assert Plan(["3000"], ROUTES).find("3000") == ("user", "3000")


def test_an_unknown_action_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="'teleport'"):
        Plan([], [Route(pattern="1", action="teleport")])


def routing() -> Routing:
    core = Routing()
    core.configure(
        RoutingConfiguration(
            id="routing-1",
            platform="voice",
            jobs=Jobs(curve_public="", curve_secret=""),
            realm="hotswitch",
            users=["1001", "1002"],
            routes=ROUTES,
        ),
        0.0,
    )
    return core


def request(core: Routing, **fields: object) -> list[object]:
    body = msgspec.msgpack.encode(Request(**({"method": "INVITE"} | fields)))  # type: ignore[arg-type]
    core.job(Job(5, "router-1", "route", body), 0.0)
    return list(core.take())


def test_a_route_is_answered_at_once() -> None:
    (reply,) = request(routing(), user="3001")
    assert reply == Reply(5, "ok", msgspec.msgpack.encode(Decision(action="conference", target="3001")))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"user": "777"}, "not-found"),
        ({"user": "3001", "method": "MESSAGE"}, "not-found"),
        ({"user": "1001", "hops": HOPS_MAX + 1}, "loop"),
    ],
)
def test_what_leads_nowhere(fields: dict[str, object], status: str) -> None:
    (reply,) = request(routing(), **fields)
    assert isinstance(reply, Reply)
    assert reply.status == status


def test_a_user_is_looked_up() -> None:
    core = routing()
    (asked,) = request(core, user="1002")
    assert isinstance(asked, Ask)
    assert (asked.kind, asked.operation) == ("resource_database", "lookup")
    assert msgspec.msgpack.decode(asked.body, type=Lookup) == Lookup(aor="1002")
    binding = Binding(contact="sip:1002@192.0.2.4:5062", path="<sip:token@127.0.0.1:5060;lr>", expires_at=100.0, q=0.5)
    core.reply(asked.id, "ok", msgspec.msgpack.encode(Bound(bindings=[binding])), "database-1", 0.0)
    (reply,) = core.take()
    assert isinstance(reply, Reply)
    assert msgspec.msgpack.decode(reply.body, type=Decision) == Decision(
        action="user", target="1002", targets=[Target(contact=binding.contact, path=binding.path, q=0.5)]
    )


@pytest.mark.parametrize(("status", "result"), [("ok", "not-registered"), ("timeout", "unavailable"), ("full", "unavailable")])
def test_a_user_who_is_not_there(status: str, result: str) -> None:
    core = routing()
    (asked,) = request(core, user="1002")
    assert isinstance(asked, Ask)
    core.reply(asked.id, status, msgspec.msgpack.encode(Bound(bindings=[])), "", 0.0)
    (reply,) = core.take()
    assert isinstance(reply, Reply)
    assert (reply.job, reply.status) == (5, result)
    assert core.remaining() == 0


def test_what_is_no_request_is_said() -> None:
    core = routing()
    core.job(Job(1, "router-1", "route", b"noise"), 0.0)
    core.job(Job(2, "router-1", "fly", b""), 0.0)
    assert [reply.status for reply in core.take() if isinstance(reply, Reply)] == ["bad-request", "bad-request"]


OUTSIDE = [
    Route(pattern="0XXX", action="outside", target="sip:trunk.example.net;transport=tcp", callers=["10XX"]),
    Route(pattern="112", action="outside", target="sip:rescue@192.0.2.9:5070", callers=["*"]),
    Route(pattern="@Example.org", action="outside", callers=["1001"]),
]


@pytest.mark.parametrize(
    ("user", "host", "caller", "result"),
    [
        ("0123", "hotswitch", "1001", ("outside", "sip:0123@trunk.example.net;transport=tcp")),
        ("112", "hotswitch", "2000", ("outside", "sip:rescue@192.0.2.9:5070")),
        ("bob", "example.org", "1001", ("outside", "sip:bob@example.org")),
        ("1001", "example.org", "1001", ("outside", "sip:1001@example.org")),
        ("bo b%", "example.org", "1001", ("outside", "sip:bo%20b%25@example.org")),
        ("0123", "hotswitch", "2000", ("refused", "")),
        ("0123", "hotswitch", "", ("refused", "")),
        ("0123", "hotswitch", "1099", ("refused", "")),
        ("112", "hotswitch", "", ("refused", "")),
        ("112", "hotswitch", "nobody", ("refused", "")),
        ("bob", "example.org", "2000", ("refused", "")),
        ("bob", "example.com", "1001", None),
    ],
)
def test_outside_is_for_those_that_the_line_names(user: str, host: str, caller: str, result: tuple[str, str] | None) -> None:
    assert Plan(["1001", "2000"], OUTSIDE).find(user, host, caller) == result


@pytest.mark.parametrize(
    "route",
    [
        Route(pattern="0XXX", action="outside", target="sip:trunk.example.net"),
        Route(pattern="0XXX", action="outside", callers=["*"]),
        Route(pattern="0XXX", action="outside", target="tel:+123", callers=["*"]),
        Route(pattern="0XXX", action="outside", target="sip:", callers=["*"]),
        Route(pattern="@example.org", action="echo"),
        Route(pattern="0XXX", action="outside", target="sip:trunk.example.net;transport=ws", callers=["*"]),
        Route(pattern="0XXX", action="outside", target="sips:trunk.example.net;transport=WSS", callers=["*"]),
    ],
)
def test_lines_outside_that_cannot_be(route: Route) -> None:
    with pytest.raises(ValueError):
        Plan([], [route])


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_the_service_tells_the_way_outside(method: str) -> None:
    routing = Routing()
    keys = Jobs(curve_public="", curve_secret="")
    routing.configure(RoutingConfiguration(id="r", platform="voice", jobs=keys, realm="h", users=["1001"], routes=OUTSIDE), 0.0)
    answers = []
    for caller in ("1001", ""):
        routing.job(
            Job(1, "c", "route", msgspec.msgpack.encode(Request(method=method, user="bob", host="example.org", caller=caller))), 0.0
        )
        answers += routing.take()
    decision, refused = answers
    assert isinstance(decision, Reply)
    assert isinstance(refused, Reply)
    uri = "sip:bob@example.org"
    assert msgspec.msgpack.decode(decision.body, type=Decision) == Decision(
        action="outside", target=uri, targets=[Target(contact=uri, path="")]
    )
    assert (refused.status, decision.status) == ("refused", "ok")
