"""The Litestar application around a service."""

from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from controller.api.access import Authentication
from controller.api.cluster import StatusController, UserController
from controller.api.description import PagePlugin
from controller.api.events import EventController
from controller.api.machines import MachineController, PoolController
from controller.api.metrics import MetricsController
from controller.api.problems import handle
from controller.release.library import project_version

if TYPE_CHECKING:
    from controller.service import Service

BODY_BYTES_MAX = 8 << 20
"""Body of a request."""


def application(service: "Service") -> Litestar:
    """The API of one controller."""

    def provide() -> "Service":
        return service

    return Litestar(
        route_handlers=[StatusController, MachineController, PoolController, UserController, EventController, MetricsController],
        middleware=[DefineMiddleware(Authentication, exclude=["^/docs", "^/healthz$"], exclude_from_auth_key="exclude_from_auth")],
        dependencies={"service": Provide(provide, sync_to_thread=False)},
        exception_handlers={Exception: handle},
        request_max_body_size=BODY_BYTES_MAX,
        state=State({"service": service}),
        signature_namespace={"Service": type(service)},
        openapi_config=OpenAPIConfig(
            title="Hotswitch",
            version=project_version(),
            description="Instruct a cluster of telephony machines.",
            path="/docs",
            render_plugins=[PagePlugin(), JsonRenderPlugin()],
            components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"bearer": []}],
        ),
        logging_config=None,
        debug=False,
    )
