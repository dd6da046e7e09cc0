"""Our proxy as a contender, alone or with what it needs to register users; and the floor."""

import hashlib
import secrets
import sys

import msgspec
import zmq

from loadtest.bench import address
from loadtest.bench.kamailio import answers_options
from loadtest.bench.options import Checkout
from loadtest.bench.process import Process
from loadtest.bench.unit import Unit, tcp, udp, udp_group
from telephony import config

REALM = "hotswitch"
SERVICE = "service"
"""User part that the load calls, as a guest."""


def _keys() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _configuration(host: str, jobs: config.Jobs, users: list[config.User]) -> config.ProxyConfiguration:
    callee = config.Peer(id="callee", host=address.CALLEE, port=address.CALLEE_PORT)
    return config.ProxyConfiguration(
        id="proxy", platform="voice", jobs=jobs, realm=REALM,
        host=host, port=address.INNER_PORT, public_host=host, public_port=address.SIP_PORT, public=True,
        routers={"voice": [callee]}, trusted=[f"{address.CALLEE}:{address.CALLEE_PORT}"],
        users=users, nonce_secret=secrets.token_bytes(32), guest_targets=[SERVICE],
    )  # fmt: skip


def _proxy(configuration: config.ProxyConfiguration, checkout: Checkout) -> Unit:
    host = configuration.host
    sockets = {
        "sip-udp": udp(host, address.INNER_PORT),
        "sip-tcp": tcp(host, address.INNER_PORT),
        "public-udp": udp(host, address.SIP_PORT),
        "public-tcp": tcp(host, address.SIP_PORT),
    }
    try:
        return Unit("proxy", "proxy", configuration, sockets, checkout.root, checkout.compiled)
    finally:
        for opened in sockets.values():
            opened.close()


class OurProxy:
    """The proxy's real process; its only router is the load's callee."""

    role = "ours"

    def __init__(self, checkout: Checkout) -> None:
        self.name = checkout.name
        self.target = f"{checkout.host}:{address.SIP_PORT}"
        public, secret = _keys()
        jobs = config.Jobs(curve_public=public, curve_secret=secret)
        self.unit = _proxy(_configuration(checkout.host, jobs, []), checkout)
        self.unit.process.wait_until(lambda: answers_options(self.target))

    def roots(self) -> list[int]:
        self.unit.drain_channel()
        return [self.unit.pid]

    def stop(self) -> None:
        self.unit.stop()


class OurShards:
    """Two processes that share the public address; each hears half of the callers (`telephony.shard`)."""

    role = "ours"
    ports = (address.INNER_PORT, address.SECOND_INNER_PORT)

    def __init__(self, checkout: Checkout) -> None:
        self.name = f"{checkout.name}, two"
        host = address.SHARDS
        self.target = f"{host}:{address.SIP_PORT}"
        self.units: list[Unit] = []
        group = udp_group(host, address.SIP_PORT, len(self.ports))
        stream = tcp(host, address.SIP_PORT)
        try:
            for port in self.ports:
                public, secret = _keys()
                configuration = msgspec.structs.replace(
                    _configuration(host, config.Jobs(curve_public=public, curve_secret=secret), []),
                    port=port, public_shards=[f"{host}:{each}" for each in self.ports], proxies=[f"{host}:{each}" for each in self.ports],
                )  # fmt: skip
                with udp(host, port) as own, tcp(host, port) as own_stream:
                    sockets = {
                        "sip-udp": own,
                        "sip-tcp": own_stream,
                        "public-tcp": stream,
                        "public-udp": group[0],
                        "public-udp-1": group[1],
                    }
                    self.units.append(Unit("proxy", "proxy", configuration, sockets, checkout.root))
            self.units[-1].process.wait_until(lambda: answers_options(self.target))
        except BaseException:
            self.stop()
            raise
        finally:
            for opened in (*group, stream):
                opened.close()

    def roots(self) -> list[int]:
        for unit in self.units:
            unit.drain_channel()
        return [unit.pid for unit in self.units]

    def stop(self) -> None:
        for unit in self.units:
            unit.stop()


class OurRegistrar:
    """Proxy, load balancer and resource database: all three count, and what each of them used is told too."""

    role = "ours"

    def __init__(self, checkout: Checkout, users: list[str], password: str) -> None:
        self.name = checkout.name
        host, root = checkout.host, checkout.root
        self.target = f"{host}:{address.SIP_PORT}"
        proxy_keys, balancer_keys, database_keys, router_keys = _keys(), _keys(), _keys(), _keys()
        listener = tcp(host, 0)
        port = listener.getsockname()[1]
        balancers = [config.Peer(id="balancer", host=host, port=port, curve_public=balancer_keys[0])]
        self.units: list[Unit] = []
        try:
            with listener:
                self.units.append(Unit("load_balancer", "balancer", config.LoadBalancerConfiguration(
                    id="balancer", platform="voice", jobs=config.Jobs(curve_public=balancer_keys[0], curve_secret=balancer_keys[1]),
                    host=host, port=port, router=config.Peer(id="router", host=host, port=1, curve_public=router_keys[0]),
                    dependents=[
                        config.Dependent(id="database", kind="resource_database", curve_public=database_keys[0]),
                        config.Dependent(
                            id="proxy", kind="proxy", curve_public=proxy_keys[0], host=host, port=address.INNER_PORT
                        ),
                    ],
                ), {"jobs": listener}, root))  # fmt: skip
            self.units.append(Unit("resource_database", "database", config.ResourceDatabaseConfiguration(
                id="database", platform="voice",
                jobs=config.Jobs(curve_public=database_keys[0], curve_secret=database_keys[1], balancers=balancers),
            ), {}, root))  # fmt: skip
            known = [config.User(name=user, ha1=_ha1(user, password)) for user in users]
            jobs = config.Jobs(curve_public=proxy_keys[0], curve_secret=proxy_keys[1], balancers=balancers)
            self.units.append(_proxy(_configuration(host, jobs, known), checkout))
            self.units[-1].process.wait_until(lambda: answers_options(self.target))
        except BaseException:
            self.stop()
            raise

    def roots(self) -> list[int]:
        for unit in self.units:
            unit.drain_channel()
        return [unit.pid for unit in self.units]

    def parts(self) -> dict[str, int]:
        """Its processes by what they are."""
        return dict(zip(("balancer", "database", "proxy"), (unit.pid for unit in self.units), strict=True))

    def stop(self) -> None:
        for unit in reversed(self.units):
            unit.stop()


def _ha1(user: str, password: str) -> dict[str, str]:
    text = f"{user}:{REALM}:{password}".encode()
    return {"MD5": hashlib.md5(text, usedforsecurity=False).hexdigest(), "SHA-256": hashlib.sha256(text).hexdigest()}


class Floor:
    """`loadtest.bench.floor_proxy` in the same interpreter as ours."""

    name = "floor"
    role = "floor"
    target = f"{address.FLOOR}:{address.SIP_PORT}"

    def __init__(self) -> None:
        self.process = Process([
            sys.executable, "-m", "loadtest.bench.floor_proxy",
            address.FLOOR, str(address.SIP_PORT), address.CALLEE, str(address.CALLEE_PORT),
        ])  # fmt: skip
        listening = f"{int.from_bytes(bytes(map(int, address.FLOOR.split('.'))), 'little'):08X}:{address.SIP_PORT:04X}"
        self.process.wait_until(lambda: listening in _open_udp())

    def roots(self) -> list[int]:
        return [self.process.pid]

    def stop(self) -> None:
        self.process.stop()


def _open_udp() -> str:
    with open("/proc/net/udp") as table:
        return table.read()
