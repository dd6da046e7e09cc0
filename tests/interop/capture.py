"""RTP as it went over the loopback interface, taken from the wire: what a peer sent and what came back to it.

Needs the right to open a packet socket (root), as SIPp's own playing of recordings does.
"""

import socket
import struct
import threading
from types import TracebackType
from typing import NamedTuple

ETHERNET_IP = 0x0800
PACKETS_MAX = 200_000
SO_RCVBUFFORCE = 33


class Packet(NamedTuple):
    """One UDP datagram."""

    source: tuple[str, int]
    destination: tuple[str, int]
    data: bytes

    @property
    def payload_type(self) -> int:
        return self.data[1] & 0x7F

    @property
    def sequence(self) -> int:
        return int(struct.unpack_from("!H", self.data, 2)[0])

    @property
    def payload(self) -> bytes:
        return self.data[12:]


class Capture:
    """Listens from entering to leaving; then `packets` holds every UDP datagram of RTP version 2 that was seen."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        # bound to one protocol it sees what arrives alone, hence each packet of the loopback interface once
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERNET_IP))
        # beyond what the system allows everybody: this thread may wait for a CPU while packets go by
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self._socket.bind(("lo", ETHERNET_IP))
        self._socket.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Capture":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def sent_by(self, port: int) -> list[Packet]:
        return [packet for packet in self.packets if packet.source[1] == port]

    def sent_to(self, port: int) -> list[Packet]:
        return [packet for packet in self.packets if packet.destination[1] == port]

    def _run(self) -> None:
        while not self._stop.is_set() and len(self.packets) < PACKETS_MAX:
            try:
                frame = self._socket.recv(65535)
            except TimeoutError:
                continue
            if len(frame) >= 54 and frame[23] == socket.IPPROTO_UDP:
                start = 14 + 4 * (frame[14] & 0x0F)
                source, destination = struct.unpack_from("!HH", frame, start)
                data = frame[start + 8 :]
                if len(data) >= 12 and data[0] >> 6 == 2:
                    hosts = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
                    self.packets.append(Packet((hosts[0], source), (hosts[1], destination), data))
