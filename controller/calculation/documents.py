"""What one machine shall run: its document."""

import msgspec

from agent.wire.messages import BundleReference, MachineDocument, Socket
from agent.wire.messages import Unit as DocumentUnit
from controller.calculation.catalogue import ENTRY, KINDS
from controller.calculation.roster import active_operation, current_bundle
from controller.state import Bundle, Machine, SealedKey, Unit
from controller.tables import Draft

_encode = msgspec.msgpack.Encoder().encode


def document(draft: Draft, machine: Machine) -> bytes:
    """The document of a machine, as it is published."""
    units = draft.units_on(machine.id)
    bundles = []
    for hash in bundles_of(draft, machine):
        bundle, key = draft.get(Bundle, hash), draft.get(SealedKey, f"{machine.id}/{hash}")
        if bundle is not None and key is not None:
            bundles.append(BundleReference(hash=hash, platform=bundle.platform, version=bundle.version, sealed_key=key.sealed))
    return _encode(MachineDocument(platform=machine.platform, bundles=bundles, units=[_unit(draft, machine, unit) for unit in units]))


def bundles_of(draft: Draft, machine: Machine) -> list[str]:
    """Software that a machine needs: what its units run from, and what it is being prepared for."""
    hashes = {unit.bundle for unit in draft.units_on(machine.id)}
    operation = active_operation(draft, machine.id)
    if operation is not None:
        hashes.add(operation.bundle)
    if not hashes:
        hashes.add(machine.bundle or current_bundle(draft, machine.platform))
    return sorted(hashes - {""})


def _unit(draft: Draft, machine: Machine, unit: Unit) -> DocumentUnit:
    return DocumentUnit(
        id=unit.id,
        bundle=unit.bundle,
        entry=ENTRY,
        arguments=[unit.kind, unit.id],
        sockets=_sockets(draft, machine, unit),
        state=KINDS[unit.kind].state,
        memory=list(KINDS[unit.kind].memory),
        standby=KINDS[unit.kind].standby,
        drain_seconds=unit.drain_seconds if unit.intent == "drain" else None,
    )


def _sockets(draft: Draft, machine: Machine, unit: Unit) -> list[Socket]:
    host, port = machine.address, unit.port
    if unit.kind == "proxy":
        sockets = [Socket(name="sip-udp", kind="udp", host=host, port=port), Socket(name="sip-tcp", kind="tcp", host=host, port=port)]
        if machine.public:
            cluster = draft.cluster
            for share in range(cluster.public_shards):
                name = f"public-udp-{share}" if share else "public-udp"
                sockets.append(Socket(name=name, kind="udp", host=cluster.public_host, port=cluster.public_port, share=share))
            for transport, public_port in {"tcp": cluster.public_port, **cluster.public_ports}.items():
                sockets.append(Socket(name=f"public-{transport}", kind="tcp", host=cluster.public_host, port=public_port))
        return sockets
    if unit.kind == "call_router":
        return [Socket(name="sip-udp", kind="udp", host=host, port=port)]
    if unit.kind == "media_processor":
        return [Socket(name="rtp", kind="udp", host=host, port=port), Socket(name="rtcp", kind="udp", host=host, port=port + 1)]
    if unit.kind == "load_balancer":
        return [Socket(name="jobs", kind="tcp", host=host, port=port)]
    return []
