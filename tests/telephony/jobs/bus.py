"""Balancers and services joined in memory, under a fake clock: what they would say over ZeroMQ, in order, or lost."""

from telephony.config import Dependent, Jobs, LoadBalancerConfiguration, Peer
from telephony.core import Job
from telephony.effects import Ask, Reply, Tell
from telephony.jobs.client import Answered
from telephony.jobs.participant import EventTold, LessWanted, Participant
from telephony.load_balancer.core import Balancer

STEP_SECONDS = 0.05


class Bus:
    """Services, each connected to balancers.

    Args:
        balancers: ids; the first one's router is ``router-1`` and so on.
        dependents: id to kind.
    """

    def __init__(self, balancers: list[str], dependents: dict[str, str], now: float = 1000.0) -> None:
        self.now = now
        self.dependents = dependents
        self.drained: set[str] = set()
        self.cut: set[str] = set()
        """Services that are there and say nothing (SIGSTOP)."""
        self.balancers: dict[str, Balancer] = {}
        self.services: dict[str, Participant] = {}
        self.links: dict[tuple[str, str], bytes] = {}
        """(service, balancer) to the connection's id."""
        self._connection = 0
        self.jobs: dict[str, list[Job]] = {}
        self.answers: dict[str, list[Answered]] = {}
        self.told: dict[str, list[EventTold | LessWanted]] = {}
        for id in balancers:
            self.balancers[id] = Balancer()
            self.configure(id)
        routers = [f"router-{number + 1}" for number in range(len(balancers))]
        for router, balancer in zip(routers, balancers, strict=True):
            self.start(router, [balancer])
        for id in dependents:
            self.start(id, balancers)
        self.settle()

    def configure(self, balancer: str, without: tuple[str, ...] = ()) -> None:
        """Give a balancer its list."""
        router = f"router-{list(self.balancers).index(balancer) + 1}"
        self.balancers[balancer].configure(
            LoadBalancerConfiguration(
                id=balancer,
                platform="voice",
                jobs=Jobs(curve_public="", curve_secret=""),
                host="127.0.0.1",
                port=1,
                router=Peer(id=router, host="127.0.0.1", port=5060),
                dependents=[
                    Dependent(id=id, kind=kind, curve_public=id, takes_new=id not in self.drained)
                    for id, kind in self.dependents.items()
                    if id not in without
                ],
            ),
            self.now,
        )

    def start(self, service: str, balancers: list[str]) -> None:
        """A service's process starts and connects."""
        self.services[service] = Participant()
        self.services[service].configure(balancers, self.now)
        for names in (self.jobs, self.answers, self.told):
            names[service] = []
        for balancer in balancers:
            self.connect(service, balancer)

    def connect(self, service: str, balancer: str) -> None:
        """A connection comes about, perhaps again."""
        self._connection += 1
        id = b"%d" % self._connection
        self.links[service, balancer] = id
        self.balancers[balancer].connected(id, service, self.now)

    def kill(self, service: str) -> None:
        """The process dies, and its connections break."""
        del self.services[service]
        for (name, balancer), id in list(self.links.items()):
            if name == service:
                del self.links[name, balancer]
                self.balancers[balancer].disconnected(id, self.now)

    def ask(self, service: str, ask: Ask) -> None:
        self.services[service].ask(ask, self.now)
        self.settle()

    def reply(self, service: str, reply: Reply) -> None:
        self.services[service].reply(reply)
        self.settle()

    def tell(self, service: str, tell: Tell) -> None:
        self.services[service].tell(tell)
        self.settle()

    def settle(self) -> None:
        """Carry messages until nobody has anything to say."""
        busy = True
        while busy:
            busy = False
            for name, service in list(self.services.items()):
                if name in self.cut:
                    continue
                outgoing, answered = service.take()
                self.answers[name] += answered
                for balancer, message in outgoing:
                    busy = True
                    if (name, balancer) in self.links:
                        self.balancers[balancer].received(self.links[name, balancer], message, self.now)
            for name, balancer in self.balancers.items():
                for connection, message in balancer.take():
                    busy = True
                    receiver = next((service for (service, of), id in self.links.items() if id == connection and of == name), None)
                    if receiver is None or receiver in self.cut:
                        continue
                    arrival = self.services[receiver].received(name, message, self.now)
                    if isinstance(arrival, Job):
                        self.jobs[receiver].append(arrival)
                    elif isinstance(arrival, Answered):
                        self.answers[receiver].append(arrival)
                    elif arrival is not None:
                        self.told[receiver].append(arrival)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.settle()
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + STEP_SECONDS)
            for name, service in self.services.items():
                if name not in self.cut:
                    service.timeout(self.now)
            for balancer in self.balancers.values():
                balancer.timeout(self.now)
            self.settle()
