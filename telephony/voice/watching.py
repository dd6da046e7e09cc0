"""Who watches whom: subscriptions to the state of users (RFC 6665), as presence (RFC 3856) and as dialogs (RFC 4235).

Rules:
- A user's state is what the resource database knows: registered or not, in a call or not. It tells of changes as long as it is
  asked again every `RENEW_SECONDS`, and the answer catches up on what was lost.
- Any user may watch any user; guests may watch nobody (403). A user whom nobody knows is closed, and in no call.
- A dialog is trying, early or confirmed as its router has told the database last, and terminated in the first document after its
  end. Documents name no Call-ID and no tags: whoever may watch may not take calls over by that.
- A watcher's subscription lives in the router that its Call-ID leads to; it ends with that router.

Bounds: `WATCHES_PER_USER_MAX` subscriptions of one watcher; more are 503. `DIALOGS_MAX` of a user in one document, the newest.
"""

from collections import Counter
from itertools import islice
from zlib import crc32

import msgspec

from telephony.call_router.desk import Desk, Result, caller_of
from telephony.jobs.resource import WATCH_SECONDS, InCall, MemberChanged, Members, MemberState, MemberStates
from telephony.sip.events import SubscribeReceived, SubscriptionEnded
from telephony.sip.message import Message
from telephony.sip.notifier import Notifier
from telephony.sip.uri import Uri

RENEW_SECONDS = WATCH_SECONDS / 2
USERS_PER_JOB = 250
WATCHES_PER_USER_MAX = 200
EXPIRES_SECONDS_MAX = 3600
DIALOGS_MAX = 8
PACKAGES = {"presence": "application/pidf+xml", "dialog": "application/dialog-info+xml"}
"""Event package to the type of its documents."""

_decode_states = msgspec.msgpack.Decoder(MemberStates).decode
_decode_changed = msgspec.msgpack.Decoder(MemberChanged).decode


class _Watch:
    """One subscription."""

    __slots__ = ("calls", "notifier", "package", "user", "version", "watcher")

    def __init__(self, notifier: Notifier, package: str, user: str, watcher: str) -> None:
        self.notifier = notifier
        self.package = package
        self.user = user
        self.watcher = watcher
        self.version = 0
        """Of the next dialog document (RFC 4235 section 4.1.1)."""
        self.calls: list[InCall] = []
        """Those of the last dialog document."""


class Watching:
    """All subscriptions of one router to the state of users."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._watches: dict[str, dict[Notifier, _Watch]] = {}
        """Watched user to its subscriptions."""
        self._states: dict[str, MemberState] = {}
        """What is known of them."""
        self._of_watcher: Counter[str] = Counter()
        self._renewing = False

    def subscribe(self, event: SubscribeReceived, now: float) -> None:
        """A SUBSCRIBE for one of `PACKAGES`."""
        notifier, message = event
        package = notifier.event.partition(";")[0]
        watcher = caller_of(message)
        if not watcher:
            notifier.reject(403, now=now)
        elif not _takes(message, PACKAGES[package]):
            notifier.reject(406, now=now, headers=(("Accept", PACKAGES[package]),))
        elif self._of_watcher[watcher] >= WATCHES_PER_USER_MAX:
            notifier.reject(503, now=now, headers=(("Retry-After", "60"),))
        else:
            user = Uri.parse(message.uri).username
            notifier.context = watch = _Watch(notifier, package, user, watcher)
            self._watches.setdefault(user, {})[notifier] = watch
            self._of_watcher[watcher] += 1
            notifier.accept(EXPIRES_SECONDS_MAX, now=now)
            self._ask([user], watch)
            if not self._renewing:
                self._renewing = True
                self._desk.after(RENEW_SECONDS, now, self._renew)

    def ended(self, event: SubscriptionEnded, now: float) -> None:
        """A subscription is over."""
        watch = event.subscription.context
        if isinstance(watch, _Watch):
            self._forget(watch)

    def changed(self, body: bytes, now: float) -> None:
        """The resource database tells of a user.

        Raises:
            msgspec.DecodeError: it is of another version.
        """
        self._learn(_decode_changed(body).member, None, now)

    def end_all(self, now: float) -> None:
        """The router goes: watchers subscribe again, elsewhere (RFC 6665 section 4.1.3)."""
        for watch in [watch for watches in self._watches.values() for watch in watches.values()]:
            watch.notifier.end("deactivated", now=now)
            self._forget(watch)

    def _ask(self, users: list[str], fresh: _Watch | None) -> None:
        def answered(result: Result, now: float) -> None:
            if result.ok:
                for member in _decode_states(result.body).members:
                    self._learn(member, fresh, now)
            elif fresh is not None:  # the first NOTIFY has to come: what is not known counts as absent
                self._learn(MemberState(user=fresh.user, registered=False, busy=False), fresh, now)

        self._desk.ask("resource_database", "members", Members(users=users, watch=True), answered)

    def _learn(self, member: MemberState, fresh: _Watch | None, now: float) -> None:
        """A user's state: told to all where it is another one, else to who has just subscribed."""
        user = member.user
        before = self._states.get(user)
        if user not in self._watches:
            return
        self._states[user] = member
        same = before is not None and (before.registered, before.busy) == (member.registered, member.busy)
        for watch in list(self._watches[user].values()):
            if watch is fresh or (not same if watch.package == "presence" else watch.calls != _newest(member)):
                self._tell(watch, member, now)

    def _tell(self, watch: _Watch, member: MemberState, now: float) -> None:
        entity = str(Uri.of(watch.user, self._desk.configuration.realm))
        if watch.package == "presence":
            body = presence(entity, member)
        else:
            before, watch.calls = watch.calls, _newest(member)
            body = dialogs(entity, watch.calls, before, watch.version)
            watch.version += 1
        once = not watch.notifier.seconds
        watch.notifier.notify(body, PACKAGES[watch.package], now=now)
        if once:
            self._forget(watch)

    def _forget(self, watch: _Watch) -> None:
        watches = self._watches.get(watch.user, {})
        if watches.pop(watch.notifier, None) is None:
            return
        self._of_watcher[watch.watcher] -= 1
        if not self._of_watcher[watch.watcher]:
            del self._of_watcher[watch.watcher]
        if not watches:
            del self._watches[watch.user]
            self._states.pop(watch.user, None)

    def _renew(self, now: float) -> None:
        users = iter(list(self._watches))
        while some := list(islice(users, USERS_PER_JOB)):
            self._ask(some, None)
        self._renewing = bool(self._watches)
        if self._renewing:
            self._desk.after(RENEW_SECONDS, now, self._renew)


def presence(entity: str, member: MemberState) -> bytes:
    """PIDF (RFC 3863): open is who is registered and in no call."""
    basic = "open" if member.registered and not member.busy else "closed"
    note = "<note>On the phone</note>" if member.busy else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\r\n<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{_escape(entity)}">'
        f'<tuple id="phone"><status><basic>{basic}</basic></status>{note}</tuple></presence>\r\n'
    ).encode()


def dialogs(entity: str, calls: list[InCall], before: list[InCall], version: int) -> bytes:
    """Dialog information (RFC 4235), always the full state: the calls that a user is in, and those ``before`` that are over."""
    present = {call.call for call in calls}
    told = [(call, call.state) for call in calls] + [(call, "terminated") for call in before if call.call not in present]
    lines = "".join(
        f'<dialog id="{crc32(call.call.encode()):08x}" direction="{"initiator" if call.initiator else "recipient"}">'
        f"<state>{state}</state></dialog>"
        for call, state in told
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\r\n<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}"'
        f' state="full" entity="{_escape(entity)}">{lines}</dialog-info>\r\n'
    ).encode()


def _newest(member: MemberState) -> list[InCall]:
    return member.calls[-DIALOGS_MAX:]


def _takes(message: Message, content_type: str) -> bool:
    """Whether Accept, where it is there, names the package's document."""
    taken = [part.partition(";")[0].strip().lower() for value in message.get_lines("accept") for part in value.split(",")]
    return not taken or bool({content_type, "application/*", "*/*"} & set(taken))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
