"""The controller's process of an embedded cluster, and what it reports to its parent over a pipe, line by line."""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from agent.wire.token import BrokerAddress
from controller.enrolment import invite
from controller.service import Options, Service
from controller.state import Machine, Status, Vitals
from controller.tables import Draft

if TYPE_CHECKING:
    from pathlib import Path

    from controller.founding import Founding


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Machines that the embedded cluster shall have: name to address."""

    machines: dict[str, str]
    pool: str


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the report."""

    tokens: dict[str, str] = {}
    """Join tokens of machines that have not joined before; the first line, once."""
    started: bool = False
    """State and software are loaded."""
    enrolled: int = 0
    alive: int = 0
    holding: int = 0
    """Machines that hold the software of their platform."""
    services: dict[str, str] = {}
    """Service to its state."""
    troubles: dict[str, str] = {}
    """Service that is not healthy to what its machine says of it."""
    ready_units: int = 0
    units: int = 0
    api: bool = False
    ready: bool = False
    error: str = ""


_encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Progress).decode


def run_controller(
    folder: "Path", broker: BrokerAddress, founding: "Founding", plan: Plan, api: socket.socket, report: int, first: bool
) -> int:
    """Be the controller until SIGTERM; returns the exit code.

    ``first``: the whole cluster starts, so that units of an earlier build may start from the new one.
    """

    def say(progress: Progress) -> None:
        os.write(report, _encode(progress) + b"\n")

    try:
        service = Service(Options(folder=folder, broker=broker, machines_expected=len(plan.machines), swap=first))
        service.found(founding)
    except Exception as error:
        say(Progress(error=f"{type(error).__name__}: {error}"))
        raise
    say(Progress(started=True, tokens=_invite(service, plan)))

    async def tell() -> None:
        await _report(service, plan, say)

    return _run(service, api, tell)


def run_standalone(options: Options, api: socket.socket) -> int:
    """Be a controller of its own until SIGTERM; returns the exit code."""
    service = Service(options)
    service.found(options.founding)
    return _run(service, api, None)


def _run(service: Service, api: socket.socket, tell: Callable[[], Awaitable[None]] | None) -> int:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(service.run(api, _application, tell))
    if service.failure is not None:
        print(f"hotswitch controller: {service.failure}", file=sys.stderr, flush=True)
    return 1 if service.failure is not None else 0


def _application(service: Service) -> Any:
    from controller.api.application import application

    return application(service)


def _invite(service: Service, plan: Plan) -> dict[str, str]:
    """Join tokens for those who are not known yet."""
    known = {machine.name for machine in service.core.tables.all(Machine).values()}
    tokens: dict[str, str] = {}

    def edit(draft: Draft) -> None:
        for name, address in plan.machines.items():
            if name not in known:
                token, _ = invite(draft, service.core.trust, service.now(), name=name, pool=plan.pool, address=address, public=True)
                tokens[name] = str(token)

    service.core.change(edit, service.now())
    return tokens


async def _report(service: Service, plan: Plan, say: Callable[[Progress], None]) -> None:
    last = b""
    with service.listening() as changed:
        while not service.stopping:
            changed.clear()
            progress = _progress(service, plan)
            if (encoded := _encode(progress)) != last:
                last = encoded
                say(progress)
            if progress.ready:
                return
            try:
                await asyncio.wait_for(changed.wait(), 0.25)
            except TimeoutError:
                continue


def _progress(service: Service, plan: Plan) -> Progress:
    draft = Draft(service.core.tables)
    machines = [machine for machine in draft.all(Machine).values() if machine.name in plan.machines]
    holding = 0
    for machine in machines:
        vitals = draft.get(Vitals, machine.id)
        needed = {unit.bundle for unit in draft.units_on(machine.id)}
        holding += vitals is not None and bool(needed) and needed <= set(vitals.bundles)
    services: dict[str, str] = {}
    troubles: dict[str, str] = {}
    for machine in machines:
        reported = draft.get(Vitals, machine.id) is not None
        for unit in draft.units_on(machine.id):
            status = draft.get(Status, unit.id)
            services[unit.id] = status.state if reported and status is not None else "unknown"
            if reported and status is not None and status.state != "healthy" and status.message:
                troubles[unit.id] = status.message
    ready, units = service.health()
    alive = sum(machine.presence == "alive" and draft.get(Vitals, machine.id) is not None for machine in machines)
    return Progress(
        started=True,
        enrolled=len(machines),
        alive=alive,
        holding=holding,
        services=services,
        troubles=troubles,
        ready_units=ready,
        units=units,
        api=service.serving,
        ready=service.serving and len(machines) == alive == len(plan.machines) and units > 0 and ready == units,
    )
