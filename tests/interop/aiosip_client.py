"""aiosip 0.2.0 (2017) as a client, a process of its own: registers, asks for OPTIONS, calls, hangs up; statuses as JSON, one a line.

What it needs to run today, and nothing else of it is changed:
- `asyncio.coroutine` and `collections.MutableMapping`, which Python no longer has.
- Digest: it reads one challenge and echoes its qop without nc and cnonce; it gets the MD5 one without qop (RFC 2069), and the user
  whose password it is (after 407 it would name the callee).
- A request that is sent again with credentials gets a branch of its own (RFC 3261 section 8.1.3.5), and an ACK the CSeq method ACK.
"""

import asyncio
import collections
import collections.abc
import functools
import inspect
import json
import sys
import types
from collections.abc import Callable
from typing import Any

ANSWER_SECONDS_MAX = 10.0


def coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `asyncio.coroutine` was: of a generator, or of a plain function whose result may be awaitable."""
    if inspect.isgeneratorfunction(function):
        return types.coroutine(function)

    @functools.wraps(function)
    async def called(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        return await result if inspect.isawaitable(result) else result

    return called


asyncio.coroutine = coroutine  # type: ignore[attr-defined]
collections.MutableMapping = collections.abc.MutableMapping  # type: ignore[attr-defined]

import aiosip  # noqa: E402
from aiosip.auth import Auth  # noqa: E402
from multidict import CIMultiDict  # noqa: E402

server, own, user, password, target, sdp = sys.argv[1:]
_answer = Auth.from_authenticate_header


def answer(authenticate: str | list[str], method: str, uri: str, username: str, password: str) -> Auth:
    challenges = authenticate if isinstance(authenticate, list) else [authenticate]
    md5 = next(each for each in challenges if each.endswith("algorithm=MD5"))
    return _answer(md5.replace(', qop="auth"', ""), method, uri, user, password)


class Dialog(aiosip.Dialog):  # type: ignore[misc]
    def send_message(self, method: str, *arguments: Any, headers: Any = None, **named: Any) -> Any:
        if headers is not None and ("Authorization" in headers or "Proxy-Authorization" in headers):
            headers.pop("Via", None)
        if headers is not None and method == "ACK":
            headers["CSeq"] = headers["CSeq"].replace("INVITE", "ACK")
        return super().send_message(method, *arguments, headers=headers, **named)


async def main() -> None:
    Auth.from_authenticate_header = answer
    app = aiosip.Application(loop=asyncio.get_running_loop())
    host, _, port = server.rpartition(":")
    own_host, _, own_port = own.rpartition(":")

    async def dialog(to: str) -> Dialog:
        return await app.start_dialog(
            from_uri=f"sip:{user}@{server}",
            to_uri=to,
            contact_uri=f"sip:{user}@{own}",
            local_addr=(own_host, int(own_port)),
            remote_addr=(host, int(port)),
            password=password,
            dialog=Dialog,
        )

    async def say(name: str, future: Any) -> Any:
        response = await asyncio.wait_for(future, ANSWER_SECONDS_MAX)
        print(json.dumps([name, response.status_code]), flush=True)
        return response

    registration = await dialog(f"sip:{user}@{server}")
    await say("REGISTER", registration.register(expires=60))
    options = await dialog(f"sip:{server}")
    await say("OPTIONS", options.send_message("OPTIONS"))
    call = await dialog(f"sip:{target}@{server}")
    headers = CIMultiDict({"Content-Type": "application/sdp"})
    answered = await say("INVITE", call.invite(headers, sdp))
    within = {name: answered.headers[name] for name in ("From", "To")}
    number = answered.headers["CSeq"].split()[0]
    call.send_message("ACK", headers=CIMultiDict({**within, "CSeq": f"{number} ACK"}))
    call.cseqs["BYE"] = int(number)
    await say("BYE", call.send_message("BYE", headers=CIMultiDict(within)))
    await say("REGISTER", registration.register(CIMultiDict({"Expires": "0"})))


asyncio.run(main())
