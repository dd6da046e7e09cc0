"""The shell as a real process: configuration, readiness, watchdog, and each way to end."""

import os
import signal
from collections.abc import Iterator

import pytest
import zmq

from telephony.config import Jobs, LoadBalancerConfiguration, Peer, Route, RoutingConfiguration
from tests.telephony.service.unit import Unit, tcp

pytestmark = pytest.mark.process


def routing(**changes: object) -> RoutingConfiguration:
    public, secret = zmq.curve_keypair()
    fields: dict[str, object] = {
        "id": "routing-1",
        "platform": "voice",
        "jobs": Jobs(curve_public=public.decode(), curve_secret=secret.decode()),
        "realm": "hotswitch",
    }
    return RoutingConfiguration(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def unit() -> Iterator[Unit]:
    one = Unit("routing", "routing-1")
    yield one
    if one.pid:
        one.kill()


def ended(unit: Unit, code: int) -> int:
    unit.pid = 0
    return code


def test_it_is_silent_until_its_first_configuration_and_then_ready(unit: Unit) -> None:
    unit.listen(0.3)
    assert not unit.ready
    unit.configure(routing())
    assert unit.ready


def test_a_configuration_that_cannot_be_applied_leaves_the_one_before(unit: Unit) -> None:
    unit.configure(routing())
    unit.configure(routing(routes=[Route(pattern="1", action="teleport")]), wait=False)
    unit.until(lambda: bool(unit.failures))
    assert unit.failures == ["refused: route '1': expected one of conference, echo, music, outside, queue, user, came 'teleport'"]
    unit.failures.clear()
    unit.configure(routing(id="routing-2"), wait=False)
    unit.until(lambda: bool(unit.failures))
    assert unit.failures == ["refused: configuration of routing-2 for routing-1"]
    unit.failures.clear()
    unit.configure(routing(routes=[Route(pattern="1", action="echo")]))
    assert unit.applied == 4


def test_a_first_configuration_that_fails_can_be_followed_by_a_good_one() -> None:
    listener = tcp()
    unit = Unit("load_balancer", "balancer-1", {"jobs": listener})
    public, secret = (key.decode() for key in zmq.curve_keypair())

    def configuration(host: str) -> LoadBalancerConfiguration:
        return LoadBalancerConfiguration(
            id="balancer-1",
            platform="voice",
            jobs=Jobs(curve_public=public, curve_secret=secret),
            host=host,
            port=listener.getsockname()[1],
            router=Peer(id="router-1", host="127.0.0.1", port=1),
        )

    try:
        unit.configure(configuration("not an address at all"), wait=False)
        unit.until(lambda: bool(unit.failures))
        unit.failures.clear()
        unit.configure(configuration("127.0.0.1"))
        assert unit.ready
    finally:
        unit.kill()
        listener.close()


@pytest.mark.parametrize("noise", [b"noise", b"", b"\x81\xa4kind\xa5magic"])
def test_bytes_that_are_no_configuration_are_refused(unit: Unit, noise: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.telephony.service.unit.encode", lambda configuration: noise)
    unit.configure(routing(), wait=False)
    unit.until(lambda: bool(unit.failures))
    assert unit.failures[0].startswith("bad-configuration: ")


def test_the_watchdog_is_fed(unit: Unit) -> None:
    unit.configure(routing())
    unit.until(lambda: unit.watchdog >= 2)


def test_it_ends_when_it_is_told(unit: Unit) -> None:
    unit.configure(routing())
    assert ended(unit, unit.stop()) == 0


def test_it_ends_on_sigterm_even_before_it_is_configured(unit: Unit) -> None:
    unit.until(lambda: unit.watchdog >= 1)
    assert ended(unit, unit.terminate()) == 0


def test_it_ends_when_the_agent_is_gone(unit: Unit) -> None:
    unit.configure(routing())
    assert ended(unit, unit.leave()) == 0


def test_it_does_not_end_on_ctrl_c(unit: Unit) -> None:
    unit.configure(routing())
    os.kill(unit.pid, signal.SIGINT)
    unit.configure(routing())
    assert unit.applied == 2


@pytest.mark.parametrize("arguments", [[], ["routing"], ["telepathy", "x-1"], ["routing", "a", "b"]])
def test_wrong_use_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from telephony.service import main

    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err


def test_without_an_agent_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    from telephony.service import main

    assert main(["routing", "routing-1"]) == 2
    assert "HOTSWITCH_SERVICE_FD" in capsys.readouterr().err
