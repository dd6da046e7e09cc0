"""What happens, as a stream of server-sent events (WHATWG HTML, section 9.2).

Rules:
- Written changes carry the store's revision as their id: a client that comes back with ``Last-Event-ID`` misses nothing that is still
  in the history; where it is gone, the event ``lost`` says so.
- Calls and notifications of services pass by: they have no id and are not repeated.
- A client that does not read is told what it missed by the history, not by a queue here.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Controller, get
from litestar.params import QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from controller.api.access import ServiceDependency, requires
from controller.api.problems import AnyRequest
from controller.service import Service
from controller.state import Machine, Operation, Ownership, Status, Unit
from controller.store import CompactedError, Event
from controller.tables import Draft, decode
from controller.views import machine_view, operation_view, service_view

KEEP_ALIVE_SECONDS = 15.0
_SHOWN = ("machine/", "operation/", "unit/", "status/", "ownership/", "pool/", "user/", "queue/", "route/", "bundle/", "audit/")


class EventController(Controller):
    """``/v1/events``"""

    path = "/v1/events"
    tags = ("events",)

    @get(guards=[requires("viewer")], summary="Stream of what happens", media_type="text/event-stream")
    async def stream(
        self,
        request: AnyRequest,
        service: ServiceDependency,
        since: Annotated[int | None, QueryParameter(ge=0, description="Revision after which to begin; none: now.")] = None,
    ) -> ServerSentEvent:
        last = request.headers.get("last-event-id", "")
        start = int(last) if last.isdecimal() else since
        return ServerSentEvent(_events(service, service.store.revision() if start is None else start))


async def _events(service: Service, revision: int) -> AsyncIterator[ServerSentEventMessage]:
    watch = service.store.watch("", revision)
    seen = service.core.happenings.count
    with service.listening() as changed:
        yield ServerSentEventMessage(comment="hotswitch", retry=2000)
        while not service.stopping:
            changed.clear()
            try:
                written = watch.events()
            except CompactedError as error:
                yield ServerSentEventMessage(event="lost", data=msgspec.json.encode({"detail": str(error)}).decode())
                watch = service.store.watch("", service.store.revision())
                continue
            for event in written:
                message = _message(service, event)
                if message is not None:
                    yield message
            for each in list(service.core.happenings.latest):
                if each.number > seen:
                    seen = each.number
                    yield ServerSentEventMessage(event=each.kind, data=msgspec.json.encode({"at": each.at, **each.body}).decode())
            try:
                await asyncio.wait_for(changed.wait(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield ServerSentEventMessage(comment="alive")


def _message(service: Service, event: Event) -> ServerSentEventMessage | None:
    if not event.key.startswith(_SHOWN):
        return None
    kind, _, id = event.key.partition("/")
    draft = Draft(service.core.tables)
    body: Any = {"id": id}
    if event.value is not None:
        record = decode(event.key, event.value)
        if isinstance(record, Machine):
            body = machine_view(draft, record)
        elif isinstance(record, Operation):
            body = operation_view(draft, record)
        elif isinstance(record, (Unit, Status)):
            unit = draft.get(Unit, id)
            body = {"id": id} if unit is None else service_view(draft, unit)
            kind = "service"
        elif isinstance(record, Ownership) or kind == "audit":
            body = msgspec.to_builtins(record)
    elif kind in ("machine", "operation", "user", "queue", "route", "pool", "bundle", "unit"):
        kind = f"{'service' if kind == 'unit' else kind}-removed"
    else:
        return None
    return ServerSentEventMessage(event=kind, id=str(event.revision), data=msgspec.json.encode(body).decode())
