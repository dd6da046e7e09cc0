"""The smallest service that keeps the contract of a unit: for tests. Its configuration is one command a line."""

import array
import os
import signal
import socket
import stat
import struct


def main(arguments):
    service = socket.socket(fileno=int(os.environ["HOTSWITCH_SERVICE_FD"]))
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])
    names = [name for name in os.environ["LISTEN_FDNAMES"].split(":") if name]
    numbers = {name: 3 + number for number, name in enumerate(names)}
    listen = {name: socket.socket(fileno=number) for name, number in numbers.items() if stat.S_ISSOCK(os.fstat(number).st_mode)}
    waiting = os.environ.get("HOTSWITCH_STANDBY") == "1"
    print("started", *arguments, flush=True)
    service.settimeout(1.0)
    configured = False
    work = 0
    while True:
        try:
            data, ancillary, _, _ = service.recvmsg(65536, socket.CMSG_SPACE(16))
        except TimeoutError:
            notify.send(b"WATCHDOG=1")
            continue
        if not data or data == b"S":
            return 0
        if data[:1] == b"C":
            descriptor = array.array("i", ancillary[0][2])[0]
            text = os.read(descriptor, 1 << 20).decode()
            os.close(descriptor)
            generation = data[1:]
            if waiting:
                notify.send(b"READY=1")
                continue
            if text == "remember":
                os.pwrite(numbers["state"], b"something", 0)
            if text == "refuse":
                service.send(b"F" + generation + b"bad-value: it says so")
                continue
            if text == "crash":
                raise RuntimeError("told to crash")
            if text.startswith("work "):
                work = int(text[5:])
                service.send(b"R" + struct.pack(">I", work))
            if text == "events":
                for number in range(3):
                    service.send(b"N" + str(number).encode())
            if text == "facts":
                facts = [
                    os.getcwd(),
                    os.environ.get("STATE_DIRECTORY", ""),
                    ":".join(listen),
                    __file__,
                    *(os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)),
                    str(len(os.listdir("/proc/self/fd"))),
                    str(os.getsid(0) == os.getpid()),
                    ",".join(sorted(os.environ)),
                ]
                service.send(b"N" + "\n".join(facts).encode())
            if text == "keep":
                path = os.path.join(os.environ["STATE_DIRECTORY"], "count")
                with open(path, "a+") as file:
                    file.write("x")
                    file.seek(0)
                    service.send(b"N" + file.read().encode())
            service.send(b"A" + generation)
            if not configured:
                configured = True
                notify.send(b"READY=1")
            if text == "read":
                listen["udp"].settimeout(5)
                service.send(b"N" + listen["udp"].recv(2048))
            if text == "hang":
                signal.pause()
        elif data[:1] == b"D":
            service.send(b"N" + b"drain " + str(struct.unpack(">d", data[1:])[0]).encode())
            service.send(b"R" + struct.pack(">I", work))
        elif data == b"P":
            peer = socket.socket(fileno=array.array("i", ancillary[0][2])[0])
            peer.send(b"a word")
            service.send(b"Nstandby")
        elif data == b"T":
            waiting = False
            kept = os.pread(numbers["state"], 100, 0)
            service.send(b"Ntook over " + kept + b", " + listen["peer"].recv(100))
            service.send(b"A" + generation)
            notify.send(b"READY=1")
        elif data == b"U":
            service.send(b"Nundrain")
