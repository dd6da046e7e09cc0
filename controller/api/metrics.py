"""Figures for Prometheus (text format 0.0.4), and whether the controller is well."""

from typing import Any

from litestar import Controller, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from controller.api.access import ServiceDependency, requires
from controller.api.cluster import status_view


class _Figures(Collector):
    def __init__(self, service: ServiceDependency) -> None:
        self._service = service

    def collect(self) -> list[Metric]:
        status = status_view(self._service)
        machines = GaugeMetricFamily("hotswitch_machines", "Machines by state", labels=["state"])
        for state, count in status.machines.items():
            machines.add_metric([state], count)
        platforms = GaugeMetricFamily("hotswitch_platform_machines", "Machines by platform", labels=["platform"])
        for platform, count in status.platforms.items():
            platforms.add_metric([platform], count)
        refused = CounterMetricFamily("hotswitch_refused", "Messages refused by the controller, by reason", labels=["reason"])
        for reason, count in status.refused.items():
            refused.add_metric([reason], count)
        broker = CounterMetricFamily("hotswitch_broker_messages", "Messages of the broker, by what became of them", labels=["what"])
        for what, count in status.broker.get("counters", {}).items():
            broker.add_metric([what], count)
        core = self._service.core
        figures: dict[str, GaugeMetricFamily] = {}
        for unit, said in sorted(status.figures.items()):
            for name, value in said.items():
                text = f"What services say of themselves: {name}"
                figures.setdefault(name, GaugeMetricFamily(f"hotswitch_{name}", text, labels=["service"])).add_metric([unit], value)
        return [
            *figures.values(),
            machines,
            platforms,
            refused,
            broker,
            GaugeMetricFamily("hotswitch_services", "Services that shall run", value=status.units),
            GaugeMetricFamily(
                "hotswitch_services_healthy", "Services that are healthy with their current configuration", value=status.units_ready
            ),
            GaugeMetricFamily("hotswitch_calls_active", "Calls that go on", value=status.calls_active),
            CounterMetricFamily("hotswitch_calls", "Calls since the controller's start", value=status.calls_total),
            GaugeMetricFamily(
                "hotswitch_subjects_unpublished", "Subjects whose current state is not acknowledged", value=status.unpublished
            ),
            GaugeMetricFamily(
                "hotswitch_machines_memory_bytes", "Memory of all machines (proportional set size)", value=status.memory_bytes
            ),
            CounterMetricFamily("hotswitch_bundle_chunks", "Chunks of bundles published", value=core.chunks_published()),
            GaugeMetricFamily("hotswitch_term", "Term of the controller", value=status.term),
            GaugeMetricFamily(
                "hotswitch_loop_late_seconds_max", "Longest that the controller's loop was late", value=self._service.late_seconds_max
            ),
        ]


class MetricsController(Controller):
    """``/metrics`` and ``/healthz``"""

    path = "/"
    tags = ("health",)

    @get("/metrics", guards=[requires("viewer")], summary="Figures for Prometheus", media_type="text/plain", sync_to_thread=False)
    def metrics(self, service: ServiceDependency) -> Response[Any]:
        registry = CollectorRegistry()
        registry.register(_Figures(service))
        return Response(content=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @get("/healthz", exclude_from_auth=True, summary="The controller answers", sync_to_thread=False)
    def health(self, service: ServiceDependency) -> dict[str, str]:
        return {"status": "ok"}
