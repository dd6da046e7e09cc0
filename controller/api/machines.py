"""Machines and pools: who there is, who may join, and the instruction to provide another platform."""

from typing import Annotated, Any

import msgspec
from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from controller.api.access import ServiceDependency, requires
from controller.api.change import change
from controller.api.problems import AnyRequest, ProblemError
from controller.instructions import DRAIN_SECONDS_MAX, add_machine, drain_machine, find_machine, remove_machine, replace, replace_pool
from controller.state import Invitation, Machine, Pool
from controller.tables import Draft
from controller.views import MachineView, OperationView, PoolView, machine_view, operation_view, pool_view

Seconds = Annotated[float, msgspec.Meta(ge=0, le=DRAIN_SECONDS_MAX)]
DryRunParameter = Annotated[bool, QueryParameter(name="dry_run", description="Answer what would change, and change nothing.")]


class ReplaceRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Provide another platform, or other software of the same one."""

    platform: str
    drain_seconds: Seconds | None = None
    """Grace for calls that go on; none: the cluster's own."""
    force: bool = False
    """Even the last machine of the default platform."""
    bundle: str = ""
    """Content hash of the software; empty: the current one of the platform."""


class InviteRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A machine that shall join."""

    name: Annotated[str, msgspec.Meta(max_length=64, pattern="^[A-Za-z0-9._-]*$")] = ""
    pool: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9._-]+$")] = "default"
    address: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """IP literal where its services are reached; empty: the machine says."""
    public: bool = False
    """It can bind the address that users know."""


class InvitationView(msgspec.Struct, frozen=True, kw_only=True):
    """A join token: said once."""

    id: str
    token: str
    expires_at: float
    command: str
    """What to run on the machine."""
    user_data: str
    """The same as cloud-init user data."""


class DrainRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Let services go elsewhere, or come back."""

    drain: bool = True
    force: bool = False


class PendingView(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation whose machine has not come yet."""

    id: str
    name: str
    pool: str
    expires_at: float


class MachineController(Controller):
    """``/v1/machines``"""

    path = "/v1/machines"
    tags = ("machines",)

    @get(guards=[requires("viewer")], summary="All machines with their services", sync_to_thread=False)
    def all(self, service: ServiceDependency) -> list[MachineView]:
        draft = Draft(service.core.tables)
        return [
            machine_view(draft, machine) for machine in sorted(draft.all(Machine).values(), key=lambda machine: (machine.name, machine.id))
        ]

    @get("/invitations", guards=[requires("viewer")], summary="Join tokens that were given out and not used", sync_to_thread=False)
    def invitations(self, service: ServiceDependency) -> list[PendingView]:
        now = service.now()
        return [
            PendingView(id=each.id, name=each.name, pool=each.pool, expires_at=each.expires_at)
            for each in service.core.tables.all(Invitation).values()
            if each.used_by is None and each.expires_at > now
        ]

    @get("/{machine:str}", guards=[requires("viewer")], summary="One machine, by id or name", sync_to_thread=False)
    def one(self, service: ServiceDependency, machine: FromPath[str]) -> MachineView:
        draft = Draft(service.core.tables)
        return machine_view(draft, find_machine(draft, machine))

    @post(guards=[requires("admin")], summary="Invite a machine: a join token for one use", status_code=201)
    async def invite(
        self, request: AnyRequest, service: ServiceDependency, data: JSONBody[InviteRequest], dry_run: DryRunParameter = False
    ) -> Response[Any]:
        if request.headers.get("idempotency-key"):
            raise ProblemError("invalid", "a join token is said once: an invitation takes no idempotency key")

        def edit(draft: Draft, actor: str) -> InvitationView:
            token, invitation = add_machine(
                draft,
                service.core.trust,
                service.now(),
                actor=actor,
                name=data.name,
                pool=data.pool,
                address=data.address,
                public=data.public,
            )
            command = f"hotswitch agent --data /var/lib/hotswitch --join {token}"
            return InvitationView(
                id=invitation.id,
                token=str(token),
                expires_at=invitation.expires_at,
                command=command,
                user_data=f"#cloud-config\nruncmd:\n  - {command}\n",
            )

        return await change(request, service, edit, dry_run=dry_run, status=201)

    @post("/{machine:str}/replace", guards=[requires("operator")], summary="Replace the machine's platform while it runs", status_code=202)
    async def replace(
        self,
        request: AnyRequest,
        service: ServiceDependency,
        machine: FromPath[str],
        data: JSONBody[ReplaceRequest],
        dry_run: DryRunParameter = False,
    ) -> Response[Any]:
        def edit(draft: Draft, actor: str) -> list[OperationView]:
            operations = replace(
                draft,
                [find_machine(draft, machine)],
                data.platform,
                service.now(),
                actor=actor,
                drain_seconds=data.drain_seconds,
                force=data.force,
                bundle=data.bundle,
            )
            return [operation_view(draft, operation) for operation in operations]

        return await change(request, service, edit, dry_run=dry_run, status=202)

    @post(
        "/{machine:str}/drain",
        guards=[requires("operator")],
        summary="Let the machine's services go elsewhere, or come back",
        status_code=202,
    )
    async def drain(
        self,
        request: AnyRequest,
        service: ServiceDependency,
        machine: FromPath[str],
        data: JSONBody[DrainRequest],
        dry_run: DryRunParameter = False,
    ) -> Response[Any]:
        def edit(draft: Draft, actor: str) -> MachineView:
            changed = drain_machine(draft, find_machine(draft, machine), service.now(), actor=actor, drain=data.drain, force=data.force)
            return machine_view(draft, changed)

        return await change(request, service, edit, dry_run=dry_run, status=202)

    @delete(
        "/{machine:str}", guards=[requires("admin")], summary="Take the machine out of the cluster; its keys are revoked", status_code=200
    )
    async def remove(
        self,
        request: AnyRequest,
        service: ServiceDependency,
        machine: FromPath[str],
        force: FromQuery[bool] = False,
        dry_run: DryRunParameter = False,
    ) -> Response[Any]:
        def edit(draft: Draft, actor: str) -> dict[str, str]:
            found = find_machine(draft, machine)
            remove_machine(draft, found, service.now(), actor=actor, force=force)
            return {"removed": found.id, "name": found.name}

        return await change(request, service, edit, dry_run=dry_run)


class PoolController(Controller):
    """``/v1/pools``"""

    path = "/v1/pools"
    tags = ("machines",)

    @get(guards=[requires("viewer")], summary="All pools", sync_to_thread=False)
    def all(self, service: ServiceDependency) -> list[PoolView]:
        draft = Draft(service.core.tables)
        return [pool_view(draft, pool) for _, pool in sorted(draft.all(Pool).items())]

    @post(
        "/{pool:str}/replace",
        guards=[requires("operator")],
        summary="Replace the platform of all machines, one after another",
        status_code=202,
    )
    async def replace(
        self,
        request: AnyRequest,
        service: ServiceDependency,
        pool: FromPath[str],
        data: JSONBody[ReplaceRequest],
        dry_run: DryRunParameter = False,
    ) -> Response[Any]:
        if data.bundle:
            raise ProblemError("invalid", "other software of the same platform is given to machines one by one")

        def edit(draft: Draft, actor: str) -> list[OperationView]:
            operations = replace_pool(
                draft, pool, data.platform, service.now(), actor=actor, drain_seconds=data.drain_seconds, force=data.force
            )
            return [operation_view(draft, operation) for operation in operations]

        return await change(request, service, edit, dry_run=dry_run, status=202)
