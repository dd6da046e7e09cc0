"""Digest authentication: challenge, check and answer (RFC 7616, RFC 8760, RFC 3261 section 22).

Rules:
- A nonce is stateless: its time, some chance, and a MAC under the proxies' common secret; any proxy checks another's nonce. One
  that is too old is *stale*: the client is challenged again without having failed. No two are equal, however quickly they
  follow each other: who counts the uses of each would take the second one's first use for a repetition.
- Both SHA-256 and MD5 are answered to and checked. What a challenge offers is its owner's choice, MD5 alone by default:
  RFC 8760 section 2.4 wants SHA-256 first and MD5 second, but deployed phones (baresip before 2.0: "Function not
  implemented") give up on any response that holds a challenge with SHA-256, wherever the one with MD5 stands.
- qop is ``auth``; a client that sends none (RFC 2069) is answered the old way, MD5 only.
- Values are compared in constant time.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from telephony.sip.text import parameters, quote, split, unquote
from telephony.sip.tokens import Tokens

NONCE_SECONDS_MAX = 300.0
"""Age at which a nonce is stale."""
SALT_DIGITS = 8
"""Chance in a nonce: two challenges of one moment are two nonces, since their clients each count from 1."""
STAMP_DIGITS = 10 + SALT_DIGITS
MAC_DIGITS = 24

_ALGORITHMS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_NO_SECRET = {"MD5": "!" * 32, "SHA-256": "!" * 64}
ALGORITHMS = ("SHA-256", "MD5")
"""Known, best first."""
OFFERED = ("MD5",)
"""In a challenge, unless its owner says otherwise."""


class Credentials(NamedTuple):
    """What a client proves that it knows."""

    username: str
    password: str


def ha1(username: str, realm: str, password: str, algorithm: str) -> str:
    """H(username:realm:password), hex (RFC 7616 section 3.4.2)."""
    return _hash(algorithm, f"{username}:{realm}:{password}")


class Nonces:
    """Makes and checks nonces under one secret."""

    def __init__(self, secret: bytes, seconds_max: float = NONCE_SECONDS_MAX, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._key = hmac.new(secret, b"hotswitch digest nonce", "sha256")
        self._seconds_max = seconds_max
        self._salts = Tokens(random)

    def make(self, wall: float) -> str:
        """A nonce of this time (unix seconds)."""
        stamp = f"{int(wall * 16) & 0xFFFFFFFFFF:010x}{self._salts.take()[:SALT_DIGITS]}"
        return stamp + self._mac(stamp)

    def check(self, nonce: str, wall: float) -> str:
        """``ok``, ``stale``, or ``bad`` (not of ours)."""
        stamp, mac = nonce[:STAMP_DIGITS], nonce[STAMP_DIGITS:]
        if len(mac) != MAC_DIGITS or not hmac.compare_digest(mac.encode(errors="replace"), self._mac(stamp).encode()):
            return "bad"
        age = wall - int(stamp[:-SALT_DIGITS], 16) / 16
        return "ok" if -60.0 <= age <= self._seconds_max else "stale"

    def _mac(self, stamp: str) -> str:
        mac = self._key.copy()
        mac.update(stamp.encode(errors="replace"))
        return mac.hexdigest()[:MAC_DIGITS]


def challenges(realm: str, nonce: str, stale: bool = False, algorithms: Sequence[str] = OFFERED) -> list[str]:
    """Values of WWW-Authenticate or Proxy-Authenticate, one an algorithm, in their order."""
    tail = ", stale=true" if stale else ""
    return [f'Digest realm={quote(realm)}, nonce="{nonce}", algorithm={name}, qop="auth"{tail}' for name in algorithms]


def fields(value: str) -> dict[str, str] | None:
    """Fields of a Digest header value, names in lower case, quotes undone; None: another scheme.

    Raises:
        ValueError: it is Digest, but malformed.
    """
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    found = {}
    for part in split(rest, ","):
        for key, content in parameters(";" + part.strip()) if part.strip() else ():
            if key in found:
                raise ValueError(f"{key} twice")
            found[key] = unquote(content or "")
    return found


def realm_of(value: str) -> str:
    """Realm that a Digest header value is of; empty: another scheme, or malformed."""
    try:
        return (fields(value) or {}).get("realm", "")
    except ValueError:
        return ""


def verify(given: dict[str, str], method: str, secret_ha1: dict[str, str], uri: str) -> bool:
    """Whether a client's answer proves the secret. The nonce is checked apart (`Nonces.check`).

    ``secret_ha1`` maps algorithm to H(A1); ``uri`` is the Request-URI, which the answer's ``uri`` need not repeat
    letter for letter: what counts is what the client hashed. A missing secret costs as much time as a wrong one.
    """
    algorithm = given.get("algorithm", "MD5").upper()
    if algorithm not in _ALGORITHMS:
        return False
    known = secret_ha1.get(algorithm)
    secret = known or _NO_SECRET[algorithm]
    ha2 = _hash(algorithm, f"{method}:{given.get('uri', uri)}")
    qop = given.get("qop")
    if qop is None:
        if algorithm != "MD5":
            return False
        wanted = _hash(algorithm, f"{secret}:{given.get('nonce', '')}:{ha2}")
    elif qop == "auth":
        wanted = _hash(algorithm, f"{secret}:{given.get('nonce', '')}:{given.get('nc', '')}:{given.get('cnonce', '')}:auth:{ha2}")
    else:
        return False
    return hmac.compare_digest(wanted.encode(), given.get("response", "").lower().encode(errors="replace")) and known is not None


def answer(challenge_values: list[str], credentials: Credentials, method: str, uri: str, cnonce: str, count: int = 1) -> str | None:
    """Value of Authorization or Proxy-Authorization for the best challenge that we know; None: we know none."""
    best: dict[str, str] | None = None
    rank = len(ALGORITHMS)
    for value in challenge_values:
        try:
            given = fields(value)
        except ValueError:
            continue
        if given is None or "nonce" not in given or "realm" not in given:
            continue
        algorithm = given.get("algorithm", "MD5").upper()
        if algorithm in ALGORITHMS and ALGORITHMS.index(algorithm) < rank:
            best, rank = given, ALGORITHMS.index(algorithm)
    if best is None:
        return None
    algorithm = ALGORITHMS[rank]
    secret = ha1(credentials.username, best["realm"], credentials.password, algorithm)
    ha2 = _hash(algorithm, f"{method}:{uri}")
    out = (
        f"Digest username={quote(credentials.username)}, realm={quote(best['realm'])}, nonce={quote(best['nonce'])},"
        f" uri={quote(uri)}, algorithm={algorithm}"
    )
    if "auth" in [word.strip().lower() for word in best.get("qop", "").split(",")]:
        response = _hash(algorithm, f"{secret}:{best['nonce']}:{count:08x}:{cnonce}:auth:{ha2}")
        out += f', qop=auth, nc={count:08x}, cnonce="{cnonce}"'
    elif "qop" in best:
        return None
    else:
        response = _hash(algorithm, f"{secret}:{best['nonce']}:{ha2}")
    if "opaque" in best:
        out += f", opaque={quote(best['opaque'])}"
    return f'{out}, response="{response}"'


def answer_again(value: str, credentials: Credentials, method: str, uri: str, cnonce: str) -> str | None:
    """An answer of ours once more, for the same nonce: with its next count (RFC 7616 section 3.4); None: it cannot be read."""
    try:
        given = fields(value) or {}
        count = int(given.get("nc", "0"), 16)
    except ValueError:
        return None
    challenge = ", ".join(f"{name}={quote(given[name])}" for name in ("realm", "nonce", "algorithm", "qop", "opaque") if name in given)
    return answer([f"Digest {challenge}"], credentials, method, uri, cnonce, count + 1)


def _hash(algorithm: str, text: str) -> str:
    return _ALGORITHMS[algorithm](text.encode("utf-8", "surrogateescape")).hexdigest()
