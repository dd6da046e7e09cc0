"""``hotswitch up``: a whole cluster on this host."""

import ipaddress
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli.options import Json
from controller.cli.output import fail, megabytes, print_json, say

if TYPE_CHECKING:
    from controller.embedded.cluster import EmbeddedCluster, Settings
    from controller.embedded.controller_process import Progress

SUPERVISE_SECONDS = 0.5
MACHINES_MAX = 64
SHARDS_MAX = 16
"""As `telephony.shard.SHARDS_MAX`, which is not loaded for the sake of a help text."""


def up(
    address: Annotated[str, typer.Option(help="Address that users know.")] = "127.0.0.1",
    sip_port: Annotated[int, typer.Option(min=0, max=65535, help="SIP port that users know, UDP and TCP; 0: any.")] = 5060,
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0: any.")] = 8080,
    api_host: Annotated[str, typer.Option(help="Address of the API.")] = "127.0.0.1",
    machines: Annotated[int, typer.Option(min=1, max=MACHINES_MAX, help="Machines; each gets an address of its own.")] = 4,
    machine_net: Annotated[str, typer.Option(help="First three numbers of the machines' addresses.")] = "127.0.1",
    sip_shards: Annotated[
        int | None,
        typer.Option(min=1, max=SHARDS_MAX, help="Proxies that share the SIP port.", show_default="half of the cores, one a machine"),
    ] = None,
    platform: Annotated[str, typer.Option(help="What all machines of a new cluster provide.")] = "voice",
    data: Annotated[Path | None, typer.Option(help="Folder of everything that is kept between runs.")] = None,
    tls_port: Annotated[int | None, typer.Option(min=0, max=65535, help="SIP over TLS; 0: off.", show_default="5061 if free")] = None,
    ws_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="SIP over WebSocket, for browsers; 0: off.", show_default="5066 if free")
    ] = None,
    wss_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="SIP over secure WebSocket; 0: off.", show_default="7443 if free")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM of a certificate chain for TLS; none: a self-signed one is made.", dir_okay=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM of its private key.", dir_okay=False)] = None,
    json: Json = False,
) -> None:
    """Start a cluster on this host and keep it running: broker, controller, machines, voice services. Ctrl-C ends it."""
    began = time.monotonic()
    from controller.calculation.catalogue import PLATFORMS
    from controller.embedded.cluster import EmbeddedCluster, Settings
    from controller.embedded.folder import DataFolder, EmbeddedError, default_folder
    from telephony.shard import steer

    if platform not in PLATFORMS:
        fail(f"there is no software for the platform {platform!r}; there is {', '.join(sorted(PLATFORMS))}", 2)
    for option, value in (("--address", address), ("--api-host", api_host), ("--machine-net", f"{machine_net}.1")):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            fail(f"{option}: {value!r} is no IP address", 2)
    if (tls_certificate is None) != (tls_key is None):
        fail("--tls-certificate and --tls-key go together", 2)
    settings = Settings(
        data=(data or default_folder()).absolute(),
        address=str(ipaddress.ip_address(address)),
        sip_port=sip_port,
        api_host=api_host,
        api_port=api_port,
        machines=machines,
        platform=platform,
        machine_net=machine_net,
        ports={"tls": tls_port, "ws": ws_port, "wss": wss_port},
        shards=sip_shards or usual_shards(machines, len(os.sched_getaffinity(0))),
        shards_required=sip_shards is not None,
        certificate=tls_certificate,
        private_key=tls_key,
    )
    signals = _Signals()
    try:
        with DataFolder(settings.data) as folder:
            cluster = EmbeddedCluster(settings, folder, _agent, steer)
            try:
                _import_shared()
                _run(cluster, settings, signals, json, began)
            finally:
                if not json:
                    say("ending ...")
                cluster.stop()
    except EmbeddedError as error:
        fail(str(error))
    if not json:
        say("ended")


def usual_shards(machines: int, cores: int) -> int:
    """How many proxies share the SIP address where nobody says: routers, balancers and media want cores as well."""
    return max(1, min(machines, cores // 2, SHARDS_MAX))


def _agent(folder: Path, token: str | None, name: str, host: str) -> int:
    from agent.run import run_agent

    return run_agent(folder, token=token, name=name, host=host)


def _import_shared() -> None:
    """What several processes need, once for all before they are forked: they share its memory."""
    import asyncio

    import agent.main
    import controller.broker

    assert asyncio
    assert agent.main
    assert controller.broker


class _Signals:
    """SIGINT and SIGTERM as a flag that wakes the selector (PEP 475: handlers run between system calls)."""

    def __init__(self) -> None:
        self.came = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._take)

    def _take(self, *_: object) -> None:
        self.came = True

    def __call__(self) -> bool:
        return self.came


def _run(cluster: "EmbeddedCluster", settings: "Settings", signals: _Signals, json: bool, began: float) -> None:
    display = None if json else _Display(settings.machines)
    ready = False
    for progress in cluster.start(signals):
        ready = progress.ready
        if display is not None:
            display.show(progress)
    if display is not None:
        display.close()
    if not ready:
        return
    _tell(cluster, json, time.monotonic() - began)
    while not signals():
        cluster.step(SUPERVISE_SECONDS)
        if signals():
            break
        for name in cluster.supervise():
            if not json:
                say(f"{name} ended by itself and is started again")


def _tell(cluster: "EmbeddedCluster", json: bool, seconds: float) -> None:
    running = cluster.running
    memory = cluster.memory_bytes()
    if json:
        print_json(
            {
                "sip": running.sip,
                "api": running.api,
                "console": f"{running.api}/docs",
                "token": running.token,
                "users": running.users,
                **running.transports,
                **({"certificate": running.certificate} if running.certificate else {}),
                "pid": running.pid,
                "memory_bytes": memory,
                "seconds": round(seconds, 2),
            }
        )
        return
    sip = running.sip.removesuffix(":5060")
    say(f"\nThe cluster serves after {seconds:.1f} s; it takes {megabytes(memory)} of memory.\n")
    say(f"SIP server   {running.sip} (UDP and TCP)")
    for transport, where in running.transports.items():
        say(f"  {transport.upper():<11}{where}")
    for trouble in cluster.off.values():
        say(f"  {trouble}")
    if running.certificate:
        say(f"  certificate {running.certificate}")
    for name, password in running.users.items():
        say(f"  sip:{name}@{sip:<22} password {password}")
    say("  3000 to 3099 conferences, 4000 queue (answered by 1003), 9196 echo, 9664 music")
    say(f"API          {running.api}")
    say(f"  described  {running.api}/docs")
    say(f"  token      {running.token}")
    say("\nTry: hotswitch call sip:9196@" + sip + "     or: hotswitch switch machine-4 --to messaging --wait")
    say("Ctrl-C ends it.")


class _Display:
    """Enrolment, delivery and health while the cluster starts."""

    def __init__(self, machines: int) -> None:
        self._machines = machines
        self._progress: Any = None
        self._tasks: list[Any] = []
        self._troubles: dict[str, str] = {}
        if not sys.stderr.isatty():
            self._last = ""
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description:<24}"), BarColumn(bar_width=32), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
        # No thread of its own: this process forks.
        self._progress = Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=False)
        self._tasks = [
            self._progress.add_task("machines enrolled", total=machines, note=""),
            self._progress.add_task("software delivered", total=machines, note=""),
            self._progress.add_task("services healthy", total=None, note=""),
        ]
        self._progress.start()

    def show(self, progress: "Progress") -> None:
        """Draw what is known now."""
        for service, message in progress.troubles.items():
            if self._troubles.get(service) != message:
                self._troubles[service] = message
                self._say(f"{service}: {message}")
        if self._progress is None:
            line = f"{progress.enrolled}/{self._machines} enrolled, {progress.holding} hold the software"
            line += f", {progress.ready_units}/{progress.units} services healthy"
            if line != self._last:
                self._last = line
                say(line)
            return
        waiting = [id for id, state in progress.services.items() if state != "healthy"]
        note = f"waiting for {', '.join(waiting[:3])}{' ...' if len(waiting) > 3 else ''}" if waiting else ""
        self._progress.update(self._tasks[0], completed=progress.enrolled)
        self._progress.update(self._tasks[1], completed=progress.holding)
        self._progress.update(self._tasks[2], completed=progress.ready_units, total=progress.units or None, note=note)
        self._progress.refresh()

    def _say(self, text: str) -> None:
        if self._progress is None:
            say(text)
        else:
            self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()
