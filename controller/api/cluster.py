"""The cluster as a whole: what it is like, what it shall be like, who calls, who did what."""

import time
from typing import Annotated, Any, cast

import msgspec
from litestar import Controller, Response, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from controller import views
from controller.api.access import ServiceDependency, requires
from controller.api.change import change
from controller.api.machines import DryRunParameter
from controller.api.problems import AnyRequest, ProblemError
from controller.desired import Desired, apply, current
from controller.founding import install, new_password
from controller.instructions import delete_user, put_user
from controller.release.contents import MissingModuleError
from controller.service import Service
from controller.state import Audit, Bundle, Counter, Machine, Operation, Unit, User
from controller.tables import Draft, decode

AUDIT_LINES_MAX = 1000
Limit = Annotated[int, QueryParameter(ge=1, le=AUDIT_LINES_MAX)]


class UserRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A subscriber's password; none: one is made."""

    password: Annotated[str, msgspec.Meta(min_length=8, max_length=256)] | None = None


class UserSecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A subscriber that was just set; the password is said once."""

    name: str
    uri: str
    password: str


class BuildRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Build the software of a platform from the installed packages."""

    platform: str


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """A call as its router reports it."""

    id: str
    router: str
    state: str
    since: float
    detail: dict[str, Any]


class RoomBranchView(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a room whose media is on one processor."""

    processor: str
    hub: bool
    """The others are joined with it."""
    calls: list[str]


class RoomView(msgspec.Struct, frozen=True, kw_only=True):
    """A conference that goes on."""

    name: str
    members: int
    branches: list[RoomBranchView]


class StatusController(Controller):
    """``/v1/status`` and lists."""

    path = "/v1"
    tags = ("cluster",)

    @get("/status", guards=[requires("viewer")], summary="The cluster at a glance", sync_to_thread=False)
    def status(self, service: ServiceDependency) -> views.StatusView:
        return status_view(service)

    @get("/cluster", guards=[requires("viewer")], summary="Desired state of the cluster, without passwords", sync_to_thread=False)
    def cluster(self, service: ServiceDependency) -> Desired:
        return current(Draft(service.core.tables))

    @put("/cluster", guards=[requires("admin")], summary="Bring the cluster in line with a document", status_code=200)
    async def put_cluster(
        self,
        request: AnyRequest,
        service: ServiceDependency,
        data: JSONBody[Desired],
        force: FromQuery[bool] = False,
        dry_run: DryRunParameter = False,
    ) -> Response[Any]:
        def edit(draft: Draft, actor: str) -> Desired:
            return apply(draft, data, service.now(), actor=actor, force=force)

        return await change(request, service, edit, dry_run=dry_run)

    @post("/cluster/plan", guards=[requires("viewer")], summary="What a document would change", status_code=200)
    async def plan(
        self, request: AnyRequest, service: ServiceDependency, data: JSONBody[Desired], force: FromQuery[bool] = False
    ) -> Response[Any]:
        return await change(
            request, service, lambda draft, actor: apply(draft, data, service.now(), actor=actor, force=force), dry_run=True
        )

    @get("/operations", guards=[requires("viewer")], summary="Replacements, latest first", sync_to_thread=False)
    def operations(self, service: ServiceDependency) -> list[views.OperationView]:
        draft = Draft(service.core.tables)
        return [views.operation_view(draft, operation) for _, operation in sorted(draft.all(Operation).items(), reverse=True)]

    @get("/operations/{operation:str}", guards=[requires("viewer")], summary="One replacement", sync_to_thread=False)
    def operation(self, service: ServiceDependency, operation: FromPath[str]) -> views.OperationView:
        draft = Draft(service.core.tables)
        found = draft.get(Operation, operation)
        if found is None:
            raise ProblemError("not-found", f"there is no operation {operation!r}")
        return views.operation_view(draft, found)

    @get("/bundles", guards=[requires("viewer")], summary="Software of the platforms", sync_to_thread=False)
    def bundles(self, service: ServiceDependency) -> list[views.BundleView]:
        draft = Draft(service.core.tables)
        return [views.bundle_view(draft, bundle) for bundle in sorted(draft.all(Bundle).values(), key=lambda bundle: bundle.created_at)]

    @post("/bundles", guards=[requires("admin")], summary="Build the software of a platform from the installed packages", status_code=201)
    async def build(self, request: AnyRequest, service: ServiceDependency, data: JSONBody[BuildRequest]) -> Response[Any]:
        try:
            built = service.library.build(data.platform)
        except KeyError:
            raise ProblemError("unknown-platform", f"there is no software for the platform {data.platform!r}") from None
        except (MissingModuleError, SyntaxError) as error:
            raise ProblemError("invalid", f"the installed packages are not whole: {error}") from error
        return await change(
            request,
            service,
            lambda draft, _: views.bundle_view(draft, install(draft, built, service.now(), restart=False)),
            status=201,
        )

    @get("/calls", guards=[requires("viewer")], summary="Calls that go on, and the latest that ended", sync_to_thread=False)
    def calls(self, service: ServiceDependency, ended: FromQuery[bool] = False) -> list[CallView]:
        calls = service.core.happenings.calls.ended() if ended else service.core.happenings.calls.active()
        return [CallView(id=call.id, router=call.router, state=call.state, since=call.since, detail=call.detail) for call in calls]

    @get("/rooms", guards=[requires("viewer")], summary="Conferences that go on, and where their members are", sync_to_thread=False)
    def rooms(self, service: ServiceDependency) -> list[RoomView]:
        found = []
        for name, members in sorted(service.core.happenings.calls.rooms().items()):
            hub = max(members, key=lambda call: call.since).detail.get("hub")
            places: dict[str, list[str]] = {}
            for call in members:
                places.setdefault(str(call.detail.get("processor", "")), []).append(call.id)
            branches = [RoomBranchView(processor=place, hub=place == hub, calls=calls) for place, calls in sorted(places.items())]
            found.append(RoomView(name=name, members=len(members), branches=branches))
        return found

    @get("/audit", guards=[requires("admin")], summary="Who did what, latest first", sync_to_thread=False)
    def audit(self, service: ServiceDependency, limit: Limit = 100) -> list[Audit]:
        counter = service.core.tables.get(Counter, "audit")
        last = 0 if counter is None else counter.value
        found: list[Audit] = []
        for number in range(last, max(0, last - limit), -1):
            entry = service.store.get(f"{Audit.table}/{number:012}")
            if entry is not None:
                found.append(cast(Audit, decode(entry.key, entry.value)))
        return found


class UserController(Controller):
    """``/v1/users``"""

    path = "/v1/users"
    tags = ("users",)

    @get(guards=[requires("viewer")], summary="All subscribers", sync_to_thread=False)
    def all(self, service: ServiceDependency) -> list[views.UserView]:
        draft = Draft(service.core.tables)
        return [views.user_view(draft, user) for _, user in sorted(draft.all(User).items())]

    @put("/{name:str}", guards=[requires("operator")], summary="Add a subscriber, or give it another password", status_code=200)
    async def set(
        self,
        request: AnyRequest,
        service: ServiceDependency,
        name: FromPath[str],
        data: JSONBody[UserRequest],
        dry_run: DryRunParameter = False,
    ) -> Response[Any]:
        password = data.password or new_password()

        def edit(draft: Draft, actor: str) -> UserSecretView:
            user = put_user(draft, name, password, service.now(), actor=actor)
            return UserSecretView(name=user.id, uri=views.user_view(draft, user).uri, password=password)

        return await change(request, service, edit, dry_run=dry_run)

    @delete("/{name:str}", guards=[requires("operator")], summary="Remove a subscriber", status_code=200)
    async def remove(
        self, request: AnyRequest, service: ServiceDependency, name: FromPath[str], dry_run: DryRunParameter = False
    ) -> Response[Any]:
        def edit(draft: Draft, actor: str) -> dict[str, str]:
            delete_user(draft, name, service.now(), actor=actor)
            return {"removed": name}

        return await change(request, service, edit, dry_run=dry_run)


def status_view(service: Service) -> views.StatusView:
    """The cluster at a glance."""
    core = service.core
    draft = Draft(core.tables)
    shown = [views.machine_view(draft, machine) for machine in draft.all(Machine).values()]
    ready, units = service.health()
    states: dict[str, int] = {}
    platforms: dict[str, int] = {}
    for machine in shown:
        states[machine.state] = states.get(machine.state, 0) + 1
        platforms[machine.platform] = platforms.get(machine.platform, 0) + 1
    owners = [each for machine in shown for each in machine.services if each.public]
    if shown and units and ready == units and set(states) == {"ready"}:
        state = "ready"
    else:
        state = "starting" if "joining" in states or "starting" in states or not units else "degraded"
    cluster = draft.cluster
    return views.StatusView(
        cluster=core.speaker.cluster,
        term=core.speaker.term,
        state=state,
        units=units,
        units_ready=ready,
        machines=states,
        platforms=platforms,
        public={
            "host": cluster.public_host,
            "port": cluster.public_port,
            "proxy": owners[0].id if owners else "",
            "proxies": {each.id: each.public_shares for each in owners},
            "shards": cluster.public_shards,
            "serving": bool(owners) and all(each.state == "healthy" for each in owners),
        },
        calls_active=len(core.happenings.calls.active()),
        calls_total=core.happenings.calls.total,
        unpublished=views.unpublished(core.tables),
        memory_bytes=sum(machine.memory_bytes for machine in shown),
        refused=dict(core.refused()),
        broker={} if core.broker is None else {"machines": core.broker.machines, "counters": core.broker.counters},
        figures={unit: said for unit, said in core.happenings.figures.items() if core.tables.get(Unit, unit) is not None},
        uptime_seconds=round(time.monotonic() - service.started, 1),
    )
