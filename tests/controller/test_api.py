"""The API: what it answers, who may ask, every problem with its details."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import AsyncTestClient

from agent.wire.token import BrokerAddress, JoinToken
from controller.api.application import BODY_BYTES_MAX, application
from controller.calculation import size
from controller.founding import Founding, found, token_hash
from controller.release.library import Built
from controller.service import Options, Service
from controller.state import Access, Delivery, Operation, Status, Subject, Unit, Vitals
from controller.store import StoreError
from controller.tables import Draft
from tests.controller.world import machine

TOKENS = {"admin": "token-of-an-admin", "operator": "token-of-an-operator", "viewer": "token-of-a-viewer"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A controller whose four machines do nothing: they were reported healthy."""
    key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
    address = BrokerAddress("inproc://publish", "inproc://subscribe", "inproc://request", "inproc://enrol", key)
    service = Service(Options(folder=tmp_path, broker=address, rebuild=False))
    built = [Built(f"bundle-{platform}", platform, "1", 100) for platform in ("voice", "messaging")]
    founding = Founding(
        public_host="127.0.0.1",
        public_port=5060,
        token=TOKENS["admin"],
        passwords={"1001": "secret-password"},
        routes=[("30XX", "conference")],
        queues={"4000": ["1001"]},
    )

    def edit(draft: Draft) -> None:
        found(draft, founding, built, service.now())
        for role in ("operator", "viewer"):
            draft.put(Access(id=token_hash(TOKENS[role]), name=role, role=role))
        for index in range(1, 5):
            draft.put(machine(index))

    write(service, edit)
    healthy(service)
    yield service
    service.close()


def write(service: Service, edit: Callable[[Draft], None]) -> None:
    """Change the state outside of the API, which runs in a thread of its own: a write must not be left open."""
    service.core.change(edit, service.now())
    service.core.take()


def healthy(service: Service) -> None:
    def edit(draft: Draft) -> None:
        for id in ("m1", "m2", "m3", "m4"):
            draft.put(Vitals(id=id, revision=1, memory_bytes=1 << 20))
        for unit in list(draft.all(Unit).values()):
            draft.put(Status(id=unit.id, state="healthy", since=service.now()))
        for subject in list(draft.all(Subject).values()):
            draft.put(Delivery(id=subject.id, accepted=subject.generation, applied=subject.generation))

    for _ in range(3):
        write(service, edit)


@pytest.fixture
async def client(service: Service) -> AsyncIterator[AsyncTestClient[Any]]:
    async with AsyncTestClient(application(service)) as client:
        client.headers["Authorization"] = f"Bearer {TOKENS['admin']}"
        yield client


def as_role(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].split(";")[0] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:hotswitch:problem:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == answer.request.url.path
    return body


async def test_machines(client: AsyncTestClient[Any]) -> None:
    machines = (await client.get("/v1/machines")).json()
    assert [each["name"] for each in machines] == ["machine-1", "machine-2", "machine-3", "machine-4"]
    assert {"id", "name", "pool", "platform", "state", "services"} <= machines[0].keys()
    assert {each["state"] for each in machines} == {"ready"}
    assert sum(len(each["services"]) for each in machines) == 12
    assert (await client.get("/v1/machines/machine-2")).json() == machines[1]
    assert (await client.get("/v1/machines/m2")).json() == machines[1]


async def test_status(client: AsyncTestClient[Any]) -> None:
    status = (await client.get("/v1/status")).json()
    assert (status["state"], status["units"], status["units_ready"]) == ("ready", 12, 12)
    assert status["machines"] == {"ready": 4}
    assert status["public"]["serving"]


async def test_no_secret_is_told(client: AsyncTestClient[Any], service: Service) -> None:
    secrets = [unit.curve_secret for unit in service.core.tables.all(Unit).values()] + ["secret-password", *TOKENS.values()]
    for path in ("status", "machines", "cluster", "users", "operations", "bundles", "calls", "audit", "pools", "machines/invitations"):
        answer = await client.get(f"/v1/{path}")
        assert answer.status_code == 200, path
        assert not [secret for secret in secrets if secret in answer.text], path


class TestAccess:
    @pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic eDp5", "Bearer " + "x" * 1000])
    async def test_without_a_good_token(self, client: AsyncTestClient[Any], header: str) -> None:
        answer = await client.get("/v1/machines", headers={"Authorization": header})
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize(
        ("method", "path", "least"),
        [
            ("GET", "/v1/machines", "viewer"),
            ("GET", "/metrics", "viewer"),
            ("POST", "/v1/cluster/plan", "viewer"),
            ("POST", "/v1/machines/m1/replace", "operator"),
            ("POST", "/v1/pools/default/replace", "operator"),
            ("PUT", "/v1/users/1009", "operator"),
            ("POST", "/v1/machines", "admin"),
            ("DELETE", "/v1/machines/m1", "admin"),
            ("PUT", "/v1/cluster", "admin"),
            ("GET", "/v1/audit", "admin"),
        ],
    )
    async def test_roles(self, client: AsyncTestClient[Any], method: str, path: str, least: str) -> None:
        order = ["viewer", "operator", "admin"]
        body = {"platform": "voice"} if "replace" in path else {}
        for role in order:
            answer = await client.request(method, path, json=None if method in ("GET", "DELETE") else body, headers=as_role(role))
            if order.index(role) < order.index(least):
                problem(answer, 403, "forbidden")
            else:
                assert answer.status_code not in (401, 403)

    async def test_health_and_description_are_open(self, client: AsyncTestClient[Any]) -> None:
        assert (await client.get("/healthz", headers={"Authorization": ""})).json() == {"status": "ok"}
        description = await client.get("/docs/openapi.json", headers={"Authorization": ""})
        assert description.status_code == 200
        paths = description.json()["paths"]
        assert {"/v1/machines", "/v1/machines/{machine}/replace", "/v1/pools/{pool}/replace", "/v1/events", "/metrics"} <= paths.keys()
        page = await client.get("/docs", headers={"Authorization": ""})
        assert page.status_code == 200
        assert "/v1/machines" in page.text
        assert "http://" not in page.text.replace("http://testserver", "")
        assert "https://" not in page.text


class TestProblems:
    async def test_not_found(self, client: AsyncTestClient[Any]) -> None:
        for path in ("/v1/nothing", "/v1/machines/none", "/v1/operations/none"):
            problem(await client.get(path), 404, "not-found")
        problem(await client.post("/v1/pools/none/replace", json={"platform": "voice"}), 404, "not-found")
        problem(await client.delete("/v1/users/none"), 404, "not-found")

    async def test_wrong_method(self, client: AsyncTestClient[Any]) -> None:
        problem(await client.delete("/v1/status"), 405, "not-allowed")

    @pytest.mark.parametrize(
        "body", [{"platform": 5}, {}, {"platform": "voice", "colour": "red"}, {"platform": "voice", "drain_seconds": -1}, []]
    )
    async def test_wrong_body(self, client: AsyncTestClient[Any], body: object) -> None:
        problem(await client.post("/v1/machines/m1/replace", json=body), 422, "invalid")

    async def test_wrong_body_is_located(self, client: AsyncTestClient[Any]) -> None:
        found = problem(await client.post("/v1/machines/m1/replace", json={"platform": 5}), 422, "invalid")
        assert found["errors"] == [{"path": "platform", "message": "Expected `str`, got `int`"}]

    async def test_no_json(self, client: AsyncTestClient[Any]) -> None:
        answer = await client.post("/v1/machines/m1/replace", content=b"{", headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)
        assert answer.headers["content-type"].startswith("application/problem+json")

    async def test_too_large(self, client: AsyncTestClient[Any]) -> None:
        big = b'{"platform": "' + b"x" * BODY_BYTES_MAX + b'"}'
        problem(await client.post("/v1/machines/m1/replace", content=big, headers={"Content-Type": "application/json"}), 413, "too-large")

    async def test_unknown_platform(self, client: AsyncTestClient[Any]) -> None:
        found = problem(await client.post("/v1/machines/m1/replace", json={"platform": "telegraph"}), 422, "unknown-platform")
        assert "telegraph" in found["detail"]
        assert "voice" in found["detail"]

    async def test_busy(self, client: AsyncTestClient[Any]) -> None:
        assert (await client.post("/v1/machines/m1/replace", json={"platform": "messaging"})).status_code == 202
        problem(await client.post("/v1/machines/m1/replace", json={"platform": "messaging"}), 409, "busy")

    async def test_not_ready(self, client: AsyncTestClient[Any], service: Service) -> None:
        write(service, lambda draft: draft.put(machine(1, presence="dead")))
        problem(await client.post("/v1/machines/m1/replace", json={"platform": "messaging"}), 409, "not-ready")

    async def test_last_machine(self, client: AsyncTestClient[Any]) -> None:
        answer = await client.post("/v1/pools/default/replace", json={"platform": "messaging"})
        assert "force" in problem(answer, 409, "last-machine")["detail"]
        assert (await client.post("/v1/pools/default/replace", json={"platform": "messaging", "force": True})).status_code == 202

    async def test_unknown_bundle(self, client: AsyncTestClient[Any]) -> None:
        problem(await client.post("/v1/machines/m1/replace", json={"platform": "messaging", "bundle": "0" * 64}), 404, "unknown-bundle")

    async def test_in_use(self, client: AsyncTestClient[Any]) -> None:
        problem(await client.delete("/v1/machines/m1"), 409, "in-use")

    async def test_a_name_twice(self, client: AsyncTestClient[Any]) -> None:
        problem(await client.post("/v1/machines", json={"name": "machine-1"}), 409, "exists")

    async def test_bad_name(self, client: AsyncTestClient[Any]) -> None:
        problem(await client.put("/v1/users/a@b", json={}), 422, "bad-name")

    async def test_rooms(self, client: AsyncTestClient[Any], service: Service) -> None:
        calls = service.core.happenings.calls
        for number, processor in enumerate(("media-1", "media-2", "media-2")):
            event = {"event": "call-room", "call": f"call{number}", "room": "3000", "processor": processor, "hub": "media-1"}
            calls.take("call-router-1", event, 1.0)
        (room,) = (await client.get("/v1/rooms")).json()
        assert (room["name"], room["members"]) == ("3000", 3)
        assert [(branch["processor"], branch["hub"], branch["calls"]) for branch in room["branches"]] == [
            ("media-1", True, ["call0"]),
            ("media-2", False, ["call1", "call2"]),
        ]

    async def test_nothing_is_told_of_what_went_wrong_inside(self, client: AsyncTestClient[Any], service: Service) -> None:
        service.core.happenings.calls.active = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        assert "division" not in problem(await client.get("/v1/calls"), 500, "internal")["detail"]


class TestInstructions:
    async def test_replace(self, client: AsyncTestClient[Any], service: Service) -> None:
        answer = await client.post("/v1/machines/machine-1/replace", json={"platform": "messaging", "drain_seconds": 5})
        (operation,) = answer.json()
        assert (operation["name"], operation["source"], operation["target"]) == ("machine-1", "voice", "messaging")
        assert service.core.tables.all(Operation)[operation["id"]].drain_seconds == 5
        assert (await client.get(f"/v1/operations/{operation['id']}")).json()["done"] is False
        assert (await client.get("/v1/machines/m1")).json()["state"] == "replacing"
        audit = (await client.get("/v1/audit")).json()
        assert (audit[0]["actor"], audit[0]["action"], audit[0]["subject"]) == ("founder", "replace", "machine-1")

    async def test_the_same_platform_is_no_operation(self, client: AsyncTestClient[Any]) -> None:
        answer = await client.post("/v1/machines/machine-1/replace", json={"platform": "voice"})
        assert (answer.status_code, answer.json()) == (202, [])

    async def test_dry_run_changes_nothing(self, client: AsyncTestClient[Any], service: Service) -> None:
        revision = service.store.revision()
        answer = await client.post("/v1/machines/machine-1/replace?dry_run=true", json={"platform": "messaging"})
        assert answer.status_code == 200
        assert {"kind": "operation", "action": "add"}.items() <= answer.json()["differences"][0].items()
        assert "curve_secret" not in answer.text
        assert service.store.revision() == revision
        assert not service.core.tables.all(Operation)

    async def test_an_idempotency_key_is_one_instruction(self, client: AsyncTestClient[Any], service: Service) -> None:
        headers = {"Idempotency-Key": "k1"}
        first = await client.post("/v1/machines/machine-1/replace", json={"platform": "messaging"}, headers=headers)
        again = await client.post("/v1/machines/machine-1/replace", json={"platform": "messaging"}, headers=headers)
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert again.headers["idempotent-replayed"] == "true"
        assert len(service.core.tables.all(Operation)) == 1
        other = await client.post("/v1/machines/machine-2/replace", json={"platform": "messaging"}, headers=headers)
        problem(other, 422, "idempotency-key-reused")
        mine = await client.post(
            "/v1/machines/machine-2/replace", json={"platform": "messaging"}, headers={**headers, **as_role("operator")}
        )
        assert mine.status_code == 202

    async def test_invitation(self, client: AsyncTestClient[Any], service: Service) -> None:
        answer = await client.post("/v1/machines", json={"name": "outside", "pool": "edge"})
        assert answer.status_code == 201
        body = answer.json()
        token = JoinToken.parse(body["token"])
        assert token.controller == service.core.speaker.identity.public
        assert body["token"] in body["command"]
        assert body["user_data"].startswith("#cloud-config")
        listed = (await client.get("/v1/machines/invitations")).json()
        assert [each["name"] for each in listed] == ["outside"]
        assert all(token.secret not in entry.value for entry in service.store.range(""))

    async def test_drain_and_back(self, client: AsyncTestClient[Any]) -> None:
        assert (await client.post("/v1/machines/m1/drain", json={})).json()["state"] == "draining"
        assert (await client.post("/v1/machines/m1/drain", json={"drain": False})).json()["state"] != "draining"

    async def test_remove(self, client: AsyncTestClient[Any]) -> None:
        assert (await client.delete("/v1/machines/m1?force=true")).json() == {"removed": "m1", "name": "machine-1"}
        problem(await client.get("/v1/machines/m1"), 404, "not-found")

    async def test_more_users_than_fit_are_refused(self, client: AsyncTestClient[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        before = (await client.get("/v1/users")).json()
        monkeypatch.setattr(size, "SUBJECT_BYTES_MAX", 4000)
        document = {"users": [{"name": f"{number}", "password": "secret"} for number in range(2000, 2040)]}
        for path in ("/v1/cluster?dry_run=true", "/v1/cluster"):
            said = problem(await client.put(path, json=document), 413, "too-large")["detail"]
            assert "4000 at most" in said
            assert "too many users" in said
        assert (await client.get("/v1/users")).json() == before
        monkeypatch.undo()
        assert (await client.put("/v1/users/2000", json={})).status_code == 200

    async def test_users(self, client: AsyncTestClient[Any]) -> None:
        answer = (await client.put("/v1/users/1009", json={})).json()
        assert len(answer["password"]) >= 16
        assert (await client.put("/v1/users/1009", json={"password": "long enough"})).json()["password"] == "long enough"
        assert [each["name"] for each in (await client.get("/v1/users")).json()] == ["1001", "1009"]
        assert (await client.delete("/v1/users/1009")).status_code == 200


class TestCluster:
    async def test_what_is_told_can_be_put(self, client: AsyncTestClient[Any], service: Service) -> None:
        document = (await client.get("/v1/cluster")).json()
        revision = service.store.revision()
        assert (await client.post("/v1/cluster/plan", json=document)).json() == {"dry_run": True, "differences": []}
        assert (await client.put("/v1/cluster", json=document)).json() == document
        assert service.store.revision() == revision

    async def test_differences(self, client: AsyncTestClient[Any]) -> None:
        document = {
            "users": [{"name": "1001"}, {"name": "1002", "password": "long enough"}],
            "routes": [{"pattern": "5XXX", "action": "echo"}],
        }
        plan = (await client.post("/v1/cluster/plan", json=document)).json()["differences"]
        assert {(each["action"], each["kind"], each["id"]) for each in plan} == {("add", "user", "1002"), ("change", "route", "00010")}
        assert "long enough" not in str(plan)
        await client.put("/v1/cluster", json=document)
        assert (await client.post("/v1/cluster/plan", json={"routes": document["routes"]})).json()["differences"] == []

    async def test_a_pool_is_switched(self, client: AsyncTestClient[Any], service: Service) -> None:
        document = {"pools": [{"name": "default", "platform": "messaging"}]}
        problem(await client.put("/v1/cluster", json=document), 409, "last-machine")
        assert (await client.put("/v1/cluster?force=true", json=document)).status_code == 200
        assert len(service.core.tables.all(Operation)) == 4

    @pytest.mark.parametrize(
        ("document", "path"),
        [
            ({"users": [{"name": "1002"}]}, "users[0].password"),
            ({"users": [{"name": "a b", "password": "x"}]}, "users[0].name"),
            ({"users": [{"name": "1001"}, {"name": "1001"}]}, "users[1].name"),
            ({"queues": [{"name": "4000", "members": ["nobody"]}]}, "queues[0].members"),
            ({"queues": [{"name": "4000", "members": [], "ring_seconds": 0}]}, "queues[0].ring_seconds"),
            ({"routes": [{"pattern": "abc", "action": "echo"}]}, "routes[0].pattern"),
            ({"pools": [{"name": "default", "platform": "telegraph"}]}, "pools[0].platform"),
            ({"cluster": {"drain_seconds": -1}}, "cluster.drain_seconds"),
            ({"colour": "red"}, ""),
        ],
    )
    async def test_what_is_wrong_is_located(self, client: AsyncTestClient[Any], document: dict[str, Any], path: str) -> None:
        assert path in problem(await client.put("/v1/cluster", json=document), 422, "invalid")["detail"]


async def test_metrics(client: AsyncTestClient[Any], service: Service) -> None:
    happenings = service.core.happenings
    unit = next(iter(service.core.tables.all(Unit)))
    news = happenings.count
    for who in (unit, "gone"):
        assert happenings.take(who, msgspec.msgpack.encode({"event": "figures", "figures": {"media_io_uring": 1.0}}), 1.0)
    for wrong in ({"a b": 1}, {"x": "y"}, [1], {f"f{number}": 0 for number in range(65)}):
        assert not happenings.take(unit, msgspec.msgpack.encode({"event": "figures", "figures": wrong}), 1.0)
    assert happenings.count == news, "figures are no news"
    text = (await client.get("/metrics")).text
    assert f'hotswitch_media_io_uring{{service="{unit}"}} 1.0' in text and "gone" not in text
    assert (await client.get("/v1/status")).json()["figures"] == {unit: {"media_io_uring": 1.0}}
    assert 'hotswitch_machines{state="ready"} 4.0' in text
    assert "hotswitch_services_healthy 12.0" in text


async def test_events_begin_where_one_left(client: AsyncTestClient[Any], service: Service) -> None:
    from controller.api.events import _events

    revision = service.store.revision()
    await client.put("/v1/users/1009", json={})
    stream = _events(service, revision)
    first = await anext(stream)
    assert first.comment == "hotswitch"
    found = [await anext(stream) for _ in range(2)]
    assert {each.event for each in found} == {"user", "audit"}
    assert all(int(str(each.id)) > revision for each in found)
    assert "ha1" not in "".join(str(each.data) for each in found)
    service.core.happenings.calls.take("call-router-1", {"event": "call-started", "call": "c1"}, 1.0)
    await stream.aclose()  # type: ignore[attr-defined]


def test_views_are_plain(service: Service) -> None:
    from controller.views import machine_view

    draft = Draft(service.core.tables)
    for each in list(draft.all(type(machine(1))).values()):
        assert msgspec.json.encode(machine_view(draft, each))


async def test_a_disk_that_takes_nothing_ends_the_service(client: AsyncTestClient[Any], service: Service) -> None:
    def fail() -> None:
        raise StoreError("the disk does not take the state")

    service.store.flush = fail  # type: ignore[method-assign]
    problem(await client.put("/v1/users/1009", json={}), 503, "unavailable")
    assert service.stopping
    assert service.failure is not None
    del service.store.flush
