"""The agent's end of the launcher: orders out, words in; another launcher when it dies."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

import msgspec

from agent.descriptors import receive_message, send_message
from agent.launcher import Order, Word, spawn_launcher
from agent.log import Log

ROUND_MESSAGES_MAX = 200
AGAIN_SECONDS = 1.0
"""Between two attempts to start another launcher."""
_decoder = msgspec.msgpack.Decoder(Word)
_encoder = msgspec.msgpack.Encoder()


class LauncherLink:
    """Talks to the launcher there is."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, launcher: socket.socket, said: Callable[[Word], None], died: Callable[[], None], log: Log
    ) -> None:
        """``said`` takes each word; ``died`` is called when the launcher is gone, and every unit with it."""
        self._loop = loop
        self._socket = launcher
        self._said = said
        self._died = died
        self._log = log
        self._closed = False
        loop.add_reader(launcher.fileno(), self.read)

    def order(self, order: Order, descriptors: list[int] | None = None) -> bool:
        """Give an order; false: there is no launcher now."""
        try:
            self._socket.setblocking(True)
            send_message(self._socket, _encoder.encode(order), descriptors)
            self._socket.setblocking(False)
        except OSError as error:
            self._log.say("agent", f"launcher: {error}")
            return False
        return True

    def read(self) -> None:
        """Take what it said so far."""
        for _ in range(ROUND_MESSAGES_MAX):
            if self._socket.fileno() < 0:
                return
            try:
                data, _ = receive_message(self._socket)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._gone()
                return
            self._said(_decoder.decode(data))

    def close(self) -> None:
        """Let it go: it ends what is left and itself."""
        self._closed = True
        self._forget()

    def _forget(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _gone(self) -> None:
        self._forget()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        if not self._closed:
            self._log.say("agent", "launcher: gone; starting another one")
            self._renew()
        self._died()

    def _renew(self) -> None:
        if self._closed:
            return
        try:
            self._socket, _ = spawn_launcher()
        except OSError as error:
            self._log.say("agent", f"launcher: {error}")
            self._loop.call_later(AGAIN_SECONDS, self._renew)
            return
        self._loop.add_reader(self._socket.fileno(), self.read)
