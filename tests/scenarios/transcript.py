"""A scenario as it stands in its file: who takes part, what they do, and what then goes over the link (README.md)."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from telephony.sip.message import Message

SETTLE_SECONDS = 0.1
"""After an action: long enough for every message and its answers, shorter than any timer."""

_MESSAGE = re.compile(r"(?:\+(?P<at>[0-9]+\.[0-9]{3}) +)?(?P<source>\w+) -> (?P<target>\w+) +(?P<what>.+?)(?P<lost> +\(lost\))?")
_HEADER = re.compile(r"(?P<name>[A-Za-z-]+): *(?P<value>.*)")


class Sent(NamedTuple):
    """One message that went over the link."""

    at: float
    """Seconds since the action before it."""
    source: str
    target: str
    message: Message
    lost: bool

    def __str__(self) -> str:
        message = self.message
        what = f"{message.method} {message.uri}" if message.method else f"{message.status} {message.reason}"
        at = f"+{self.at:.3f} " if self.at > SETTLE_SECONDS else ""
        return f"  {at}{self.source} -> {self.target}  {what}{' (lost)' if self.lost else ''}"


class Wanted(NamedTuple):
    """One message that the scenario expects."""

    line: int
    at: str
    """Seconds since the action before it, with three digits; empty: at any time."""
    source: str
    target: str
    what: str
    """Start of the message: method and pattern of the Request-URI, or status and reason phrase; each second part may be left out."""
    lost: bool
    headers: list[tuple[str, str]]
    """Names (lower case) with patterns of values; ``no NAME`` and ``body``, ``no body`` with an empty pattern."""

    def differs(self, sent: Sent) -> str:
        """What is not as expected; empty: nothing."""
        message = sent.message
        first, _, rest = self.what.partition(" ")
        start, second = (message.method, message.uri) if message.method else (str(message.status), message.reason)
        if (self.source, self.target, first) != (sent.source, sent.target, start) or (rest and not fnmatchcase(second, rest.strip())):
            return "another message"
        if self.lost != sent.lost:
            return "expected to be lost" if self.lost else "not expected to be lost"
        if self.at and self.at != f"{sent.at:.3f}":
            return f"expected at +{self.at}"
        for name, pattern in self.headers:
            wrong = _differs(message, name, pattern)
            if wrong:
                return wrong
        return ""


def _differs(message: Message, name: str, pattern: str) -> str:
    if name in ("body", "no body"):
        return "" if bool(message.body) == (name == "body") else f"expected {name}"
    if name.startswith("no "):
        return f"expected {name}" if message.has(name[3:]) else ""
    values = message.get_all(name)
    if not any(fnmatchcase(value, pattern) for value in values):
        return f"expected {name}: {pattern}, got {values}"
    return ""


class Step(NamedTuple):
    """One action, and what goes over the link until the next."""

    line: int
    action: str
    wanted: list[Wanted] | None
    """None: the next action follows at the same moment."""


class Scenario(NamedTuple):
    """A file."""

    title: str
    elements: list[str]
    """Declarations, as written."""
    steps: list[Step]


def read(path: Path) -> Scenario:
    """Read a scenario.

    Raises:
        ValueError: a line that has no meaning where it stands.
    """
    lines = path.read_text().splitlines()
    title = lines[0]
    at = lines.index("---")
    elements = [line.strip() for line in lines[1:at] if line.strip() and not line.startswith("#")]
    steps: list[Step] = []
    for number, line in enumerate(lines[at + 1 :], at + 2):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            steps.append(Step(number, text, None))
            continue
        if not steps:
            raise ValueError(f"{path.name}:{number}: expected an action first")
        step = steps[-1]
        if step.wanted is None:
            step = steps[-1] = step._replace(wanted=[])
        assert step.wanted is not None
        if depth > 2:
            if not step.wanted:
                raise ValueError(f"{path.name}:{number}: expected a message before {text!r}")
            step.wanted[-1].headers.append(_condition(text, path, number))
        elif text != "nothing":
            found = _MESSAGE.fullmatch(text)
            if found is None:
                raise ValueError(f"{path.name}:{number}: expected 'NAME -> NAME  MESSAGE', got {text!r}")
            step.wanted.append(
                Wanted(number, found["at"] or "", found["source"], found["target"], found["what"], found["lost"] is not None, [])
            )
    return Scenario(title, elements, steps)


def _condition(text: str, path: Path, number: int) -> tuple[str, str]:
    if text in ("body", "no body"):
        return text, ""
    if text.startswith("no "):
        return f"no {text[3:].lower()}", ""
    found = _HEADER.fullmatch(text)
    if found is None:
        raise ValueError(f"{path.name}:{number}: expected 'Header: pattern', 'no Header', 'body' or 'no body', got {text!r}")
    return found["name"].lower(), found["value"]
