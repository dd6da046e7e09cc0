"""Runs a scenario: does what its steps say, and compares what goes over the link with what they expect."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import zip_longest
from pathlib import Path

from tests.scenarios.transcript import SETTLE_SECONDS, Scenario, Sent, Step
from tests.scenarios.world import Fault, World


class Run:
    """One scenario on its way."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.world = World(scenario.elements, folder)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.world.close()

    def check(self) -> None:
        """All of it.

        Raises:
            AssertionError: something else went over the link, or something is left in the end.
        """
        for step in self.scenario.steps:
            sent = self.do(step)
            if step.wanted is None:
                continue
            for wanted, one in zip_longest(step.wanted, sent):
                wrong = "nothing more is expected" if wanted is None else "nothing more came" if one is None else wanted.differs(one)
                if wrong:
                    line = step.line if wanted is None else wanted.line
                    got = "\n".join(map(str, sent)) or "  nothing"
                    raise AssertionError(f"line {line}: {wrong}\n{step.action}\n{got}")
        self.world.at_rest()

    def do(self, step: Step) -> list[Sent]:
        """One step; what went over the link since its action, if it waits for that."""
        world = self.world
        world.since = world.now
        act(world, step.action)
        world.collect()
        if step.wanted is None:
            return []
        if not step.action.startswith("wait "):
            world.run(SETTLE_SECONDS)
        sent, world.sent = world.sent, []
        return sent


def act(world: World, action: str) -> None:
    """Do what one line says.

    Raises:
        ValueError: no phrase is like it.
        AssertionError: it is a claim, and not true.
    """
    for pattern, do in PHRASES:
        found = pattern.fullmatch(action)
        if found is not None:
            do(world, *found.groups())
            return
    raise ValueError(f"no such phrase: {action!r}; tests/scenarios/README.md lists them")


Phrase = Callable[..., None]
PHRASES: list[tuple[re.Pattern[str], Phrase]] = []


def phrase(pattern: str) -> Callable[[Phrase], Phrase]:
    """What a line of this form does."""

    def keep(do: Phrase) -> Phrase:
        PHRASES.append((re.compile(pattern), do))
        return do

    return keep


@phrase(r"wait (\d+(?:\.\d+)?) s")
def _wait(world: World, seconds: str) -> None:
    world.run(float(seconds))


@phrase(r"(?:lose|delay) the next (?:(\d+) )?(\S+)(?: from (\w+))?(?: to (\w+))?(?: by (\d+(?:\.\d+)?) s)?")
def _fault(world: World, count: str | None, what: str, source: str | None, target: str | None, seconds: str | None) -> None:
    def matches(sent: Sent) -> bool:
        start = sent.message.method or str(sent.message.status)
        return fnmatchcase(start, what) and source in (None, sent.source) and target in (None, sent.target)

    world.faults.append(Fault(matches, int(count or "1"), float(seconds or "0")))


@phrase(r"(\w+) is silent")
def _silent(world: World, name: str) -> None:
    world.faults.append(Fault(lambda sent: name in (sent.source, sent.target), 1_000_000, 0.0))


@phrase(r"nothing is lost any more")
def _no_faults(world: World) -> None:
    world.faults.clear()


@phrase(r"(\w+) registers(?: at (\S+(?: and \S+)*))?(?: for (\d+) s)?(?: with a wrong (password))?")
def _register(world: World, name: str, contacts: str | None, seconds: str | None, wrong: str | None) -> None:
    phone = world.phones[name]
    given = contacts.split(" and ") if contacts else [f"sip:{phone.user}@{phone.address[0]}:{phone.address[1]}"]
    phone.register([f"<{contact}>" for contact in given], seconds or "", "guess" if wrong else "")


@phrase(r"(\w+) asks for the registered contacts")
def _query(world: World, name: str) -> None:
    world.phones[name].register([])


@phrase(r"(\w+) removes (all|\S+) registered contacts?")
def _remove(world: World, name: str, which: str) -> None:
    world.phones[name].register(["*" if which == "all" else f"<{which}>"], "0")


@phrase(r"(\w+) calls (\S+)( without an offer)?(?: through (\w+))?(?: by way of (\w+))?")
def _call(world: World, name: str, target: str, late: str | None, proxy: str | None, other: str | None) -> None:
    phone = world.phones[name]
    way = world.public(proxy) if proxy else world.phones[other].address if other else phone.server
    if way is None:
        way = world.phones[target].address
    phone.call(world.uri(target, phone), way, late is None)


@phrase(r"(\w+) sends (\w+) the message (.+)")
def _message(world: World, name: str, target: str, text: str) -> None:
    phone = world.phones[name]
    phone.message(world.uri(target, phone), text)


@phrase(r"(\w+) watches the (presence|dialog) of (\w+)")
def _watch(world: World, name: str, package: str, target: str) -> None:
    phone = world.phones[name]
    phone.watch(world.uri(target, phone), package)


@phrase(r"(\w+) watches nobody any more")
def _unwatch(world: World, name: str) -> None:
    phone = world.phones[name]
    for each in phone.watching:
        each.unsubscribe(world.now)
    phone.watching.clear()


@phrase(r"(\w+) says (.+)")
def _say(world: World, name: str, text: str) -> None:
    world.phones[name].call_of.request("MESSAGE", text.encode(), now=world.now, content_type="text/plain")


@phrase(r"(\w+) sends the digit ([0-9*#A-D])")
def _digit(world: World, name: str, digit: str) -> None:
    world.phones[name].call_of.info(f"Signal={digit}\r\n".encode(), now=world.now)


@phrase(r"(\w+) rings( reliably)?")
def _ring(world: World, name: str, reliably: str | None) -> None:
    world.phones[name].call_of.progress(180, now=world.now, reliable=reliably is not None)


@phrase(r"(\w+) sends early media( reliably)?")
def _early(world: World, name: str, reliably: str | None) -> None:
    phone = world.phones[name]
    phone.call_of.progress(183, phone.sdp, now=world.now, reliable=reliably is not None)


@phrase(r"(\w+) answers")
def _answer(world: World, name: str) -> None:
    phone = world.phones[name]
    phone.call_of.accept(phone.sdp, now=world.now)


@phrase(r"(\w+) refuses with (\d+)(?: and names (\S+))?")
def _refuse(world: World, name: str, status: str, contact: str | None) -> None:
    headers = [("Contact", f"<{contact}>")] if contact else []
    world.phones[name].call_of.reject(int(status), now=world.now, headers=headers)


@phrase(r"(\w+) cancels")
def _cancel(world: World, name: str) -> None:
    world.phones[name].call_of.cancel(now=world.now)


@phrase(r"(\w+) hangs up")
def _hang_up(world: World, name: str) -> None:
    world.phones[name].call_of.bye(now=world.now)


@phrase(r"(\w+) acknowledges with an answer")
def _acknowledge(world: World, name: str) -> None:
    phone = world.phones[name]
    phone.call_of.acknowledge(phone.sdp, now=world.now)


@phrase(r"(\w+) changes the session( without an offer)?")
def _change(world: World, name: str, late: str | None) -> None:
    phone = world.phones[name]
    phone.call_of.reinvite(b"" if late else phone.sdp, now=world.now)


@phrase(r"(\w+) holds")
def _hold(world: World, name: str) -> None:
    phone = world.phones[name]
    phone.call_of.reinvite(phone.sdp.replace(b"a=sendrecv", b"a=sendonly"), now=world.now)


@phrase(r"(\w+) updates the session")
def _update(world: World, name: str) -> None:
    phone = world.phones[name]
    phone.call_of.update(phone.sdp, now=world.now)


@phrase(r"(\w+) agrees to the change")
def _agree(world: World, name: str) -> None:
    phone = world.phones[name]
    phone.call_of.answer_reinvite(phone.sdp, now=world.now)


@phrase(r"(\w+) refuses the change with (\d+)")
def _disagree(world: World, name: str, status: str) -> None:
    world.phones[name].call_of.reject_reinvite(int(status), now=world.now)


@phrase(r"(\w+) transfers (?:the call )?to (\S+)")
def _transfer(world: World, name: str, target: str) -> None:
    phone = world.phones[name]
    phone.call_of.request("REFER", now=world.now, headers=[("Refer-To", f"<{world.uri(target, phone)}>")])


@phrase(r"(\w+) moves to (\S+)")
def _move(world: World, name: str, host: str) -> None:
    world.move(world.phones[name], host)


@phrase(r"(\w+) accepts the request")
def _accept(world: World, name: str) -> None:
    requests = [event.request for event in world.phones[name].events if hasattr(event, "request") and hasattr(event.request, "respond")]
    assert requests, f"{name} has got no request"
    requests[-1].respond(200, now=world.now)


# Claims


@phrase(r"(\w+)'s call is (calling|ringing|established|ending|ended)")
def _state(world: World, name: str, state: str) -> None:
    assert world.phones[name].call_of.state == state, f"{name}'s call is {world.phones[name].call_of.state}"


@phrase(r"(\w+) was refused with (\d+)")
def _refused(world: World, name: str, status: str) -> None:
    assert world.phones[name].refused == int(status), f"{name} was refused with {world.phones[name].refused}"


@phrase(r"(\w+) has (\d+) registered contacts?")
def _contacts(world: World, name: str, count: str) -> None:
    assert world.phones[name].contacts == int(count), f"{name} has {world.phones[name].contacts}"


@phrase(r"(\w+) was told (\w+(?:, \w+)*)")
def _told(world: World, name: str, events: str) -> None:
    told = [type(event).__name__ for event in world.phones[name].events]
    assert told == events.split(", "), f"{name} was told {', '.join(told)}"
    world.phones[name].events.clear()
