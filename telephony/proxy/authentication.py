"""Who a request comes from, by digest (RFC 3261 section 22, RFC 7616, RFC 8760).

Rules:
- The user's secrets come with the configuration. A nonce is stateless; one of another proxy, or of this one before its last
  start, is stale: the client is challenged again and has failed nothing.
- An unknown user is checked against a secret that nobody has, and answered as a wrong password is: no user is betrayed.
  For the same reason numbers that we have not given away have to be proved like those that we have, and names need not be where
  guests may call, whether there is such a user or not (`Authentication.claims`); who proves one is believed.
- A user who is locked at the source is not checked at all, and answered alike.
- A count of a nonce (``nc``) is taken once: what was recorded cannot be sent again (RFC 7616 section 3.4). The last
  `COUNTS_MAX` nonces in use are remembered.
- Challenges are several, MD5's first (`OFFERED`). RFC 8760 section 2.4 wants the best on top, but phones in use look at the
  first one alone (JsSIP, SIPp), and one that knows better finds it below. `MD5_ALONE` fail at the mere sight of another one.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from telephony.sip.digest import Nonces, challenges, fields, realm_of, verify
from telephony.sip.message import Message

COUNTS_MAX = 20_000
COUNT_DIGITS_MAX = 8
"""Of a count (RFC 7616 section 3.4: 8LHEX)."""
AUTHORIZATIONS_MAX = 8
"""Authorization headers that are looked at in one request."""
OFFERED = ("MD5", "SHA-256")
"""Algorithms of the challenges, in their order."""
MD5_ONLY = ("MD5",)
MD5_ALONE = ("baresip v0", "baresip v1", "baresip/0", "baresip/1")
"""How the User-Agent of a phone starts that takes no challenge at all where one of several has an algorithm unknown to it
(baresip before 2.0 says "Function not implemented")."""
MD5_LAST = ("ws", "wss")
"""Transports of JsSIP and its kin, which heed the last challenge alone and know only MD5; other such phones heed the first."""
_PLACE = "\0"
"""Where the nonce stands in challenges that are kept."""
_NOBODY: dict[str, str] = {}


class Checked(NamedTuple):
    """What the credentials of a request are worth."""

    user: str = ""
    """Who has sent it; empty: nobody proves it."""
    stale: bool = False
    """Only the nonce is too old."""
    guessed: str = ""
    """The user whose secret the sender does not know, or is not believed to know."""


NOTHING_CHECKED = Checked()
"""There are no credentials."""


class Authentication:
    """Checks requests against the users of one realm."""

    def __init__(self, realm: str, users: dict[str, dict[str, str]], secret: bytes, offered: Sequence[str] = OFFERED) -> None:
        self.realm = realm
        self._users = users
        self._nonces = Nonces(secret)
        self._offered = tuple(offered)
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._lines: dict[tuple[Sequence[str], bool], str] = {}
        self._digits = frozenset(len(name) for name in users if name.isdigit())

    def claims(self, user: str) -> bool:
        """A number as long as those of our users: who sends it has to prove it."""
        return len(user) in self._digits and user.isdigit()

    def check(self, message: Message, header: str, now: float, locked: Callable[[str], bool]) -> Checked:
        """Check the credentials of a request; ``locked`` says whether a user is.

        Raises:
            MessageError: the header cannot be read.
        """
        stale = False
        guessed = ""
        for value in message.get_lines(header)[:AUTHORIZATIONS_MAX]:
            try:
                given = fields(value)
            except ValueError:
                continue
            if given is None or given.get("realm") != self.realm:
                continue
            nonce = given.get("nonce", "")
            freshness = self._nonces.check(nonce, now)
            if freshness == "bad":
                continue
            user = given.get("username", "")
            if locked(user) or not verify(given, message.method or "", self._users.get(user, _NOBODY), message.uri, message.body):
                guessed = user
                continue
            if freshness == "stale" or not self._nonces.own(nonce) or not self._counted(nonce + user, given.get("nc")):
                stale = True
                continue
            return Checked(user)
        return Checked("", stale, guessed)

    def consume(self, message: Message) -> None:
        """Take off the credentials that were for us; those for proxies behind us go on (RFC 3261 section 22.3)."""
        proofs = message.get_lines("proxy-authorization")
        message.remove("proxy-authorization")
        if len(proofs) > 1:
            for value in proofs[:AUTHORIZATIONS_MAX]:
                if realm_of(value) != self.realm:
                    message.add("proxy-authorization", value)

    def challenges(self, now: float, stale: bool, agent: str = "") -> list[str]:
        """Values of the challenge's header; ``agent`` is the User-Agent of whom it is for."""
        offered = MD5_ONLY if agent.startswith(MD5_ALONE) else self._offered
        return challenges(self.realm, self._nonces.make(now), stale, offered)

    def challenge_lines(self, now: float, agent: str, transport: str) -> str:
        """The same as header lines of a 401, each with its line end."""
        offered = MD5_ONLY if agent.startswith(MD5_ALONE) else self._offered
        last = transport in MD5_LAST
        lines = self._lines.get((offered, last))
        if lines is None:
            values = challenges(self.realm, _PLACE, False, offered[::-1] if last else offered)
            lines = self._lines[offered, last] = "".join(f"WWW-Authenticate: {value}\r\n" for value in values)
        return lines.replace(_PLACE, self._nonces.make(now))

    def _counted(self, nonce: str, count: str | None) -> bool:
        """Whether this use of the nonce is new."""
        if count is not None and len(count) > COUNT_DIGITS_MAX:
            return False
        try:
            number = int(count, 16) if count else 1
        except ValueError:
            return False
        last = self._counts.pop(nonce, 0)
        if len(self._counts) >= COUNTS_MAX:
            self._counts.popitem(last=False)
        self._counts[nonce] = max(last, number)
        return number > last
