"""Client and simulator held against the contract of Koha's REST API.

Prism plays Koha from the contract and checks what the client sends; every answer of the simulator is
checked against the contract's schemas. The contract is no part of the project: where it is absent, these
tests skip and say so.
"""

import json
import re
import socket
import subprocess
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import pytest
import requests
import yaml

from bridge.demo.processes import free_port
from koha_client import (
    Ability,
    BasicCredentials,
    Conflict,
    ExtendedAttribute,
    InMaintenance,
    KohaClient,
    KohaForbidden,
    KohaUnauthorized,
    MalformedAnswer,
    NewPatron,
    NotOffered,
    OAuth2ClientCredentials,
    Password,
    PasswordRules,
    PatronNotFound,
    ServerFailed,
    Transport,
)
from koha_client.simulator import DemoItem, DemoPatron
from koha_client.versions import CIRCULATE, NEWEST, Route

PROJECT = Path(__file__).parents[2]
CONTRACT = PROJECT.parent / "shared/koha-openapi/koha-subset.prefixed.yaml"
PRISM = PROJECT / ".cache/prism/node_modules/.bin/prism"
API = "/api/v1"
START_SECONDS = 200

EXAMPLE_ID, EXAMPLE_UPDATED_ON = 51, "2026-01-05T10:00:00+09:00"
"""The patron of the contract's examples, whom Prism always answers with."""


@pytest.fixture(scope="module")
def contract():
    if not CONTRACT.exists():
        pytest.skip(f"the contract of Koha's REST API is not beside the project ({CONTRACT.parent.name}/)")
    return yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def plugin_contract():
    """What the plugin's own description adds to Koha's, under the address that Koha gives it."""
    description = PROJECT / "koha_plugin/Koha/Plugin/Com/KohaJpki/MyNumberCard/openapi.json"
    routes = json.loads(description.read_text(encoding="utf-8"))
    return {"paths": {f"{API}/contrib/jpkibridge{path}": routes[path] for path in routes}, "definitions": {}}


@pytest.fixture(scope="module")
def prism_url(contract, tmp_path_factory):
    assert PRISM.exists(), "Prism is not installed: run .ci/setup test"
    port = free_port()
    log = tmp_path_factory.mktemp("prism") / "log"
    command = [PRISM, "mock", CONTRACT, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_for(port, process, log)
            yield f"http://127.0.0.1:{port}{API}"
        finally:
            process.terminate()


def _wait_for(port, process, log):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError(log.read_text())


class Recorder(requests.Session):
    """A session that keeps every answer, with the request that led to it."""

    def __init__(self):
        super().__init__()
        self.answers = []
        self.hooks["response"].append(lambda answer, **_: self.answers.append(answer))


@pytest.fixture
def recorder():
    with Recorder() as session:
        yield session


def operation_of(contract, method, url):
    """Return the contract's operation for a request."""
    path = urlsplit(url).path
    for template, operations in contract["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) and method.lower() in operations:
            return operations[method.lower()]
    raise AssertionError(f"the contract has no {method} {path}")


def parameters_of(contract, operation, place):
    resolved = (
        contract["parameters"][parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
        for parameter in operation["parameters"]
    )
    return {parameter["name"] for parameter in resolved if parameter["in"] == place}


CALLS = {
    "find": lambda client: client.find_patron_by_cardnumber("2000000051"),
    "get": lambda client: client.get_patron(EXAMPLE_ID),
    "update": lambda client: client.update_patron(EXAMPLE_ID, {"city": "見本市"}, EXAMPLE_UPDATED_ON),
    "category": lambda client: client.change_category(EXAMPLE_ID, "PT12", EXAMPLE_UPDATED_ON),
    "expiry": lambda client: client.extend_expiry(EXAMPLE_ID, date(2028, 3, 31), EXAMPLE_UPDATED_ON),
    "card number": lambda client: client.change_cardnumber(EXAMPLE_ID, "2000000052", EXAMPLE_UPDATED_ON),
    "create": lambda client: client.create_patron(
        NewPatron("図書", "CPL", "PT6", "2000000052", "hanako", "花子", date(2028, 3, 31)),
        is_no_duplicate=True,
    ),
    "password": lambda client: client.set_password(EXAMPLE_ID, "Tosho-2026", PasswordRules()),
    "attributes": lambda client: client.list_extended_attributes(EXAMPLE_ID),
    "add attribute": lambda client: client.add_extended_attribute(
        EXAMPLE_ID, ExtendedAttribute("SCHOOL", "x")
    ),
    "replace attributes": lambda client: client.replace_extended_attributes(
        EXAMPLE_ID, [ExtendedAttribute("SCHOOL", "x")]
    ),
    "change attribute": lambda client: client.change_extended_attribute(EXAMPLE_ID, 1, "x"),
    "delete attribute": lambda client: client.delete_extended_attribute(EXAMPLE_ID, 1),
    "categories": lambda client: client.list_categories(),
    "libraries": lambda client: client.list_libraries(),
    "checkouts": lambda client: client.checkouts_of(EXAMPLE_ID),
    "holds": lambda client: client.holds_of(EXAMPLE_ID),
    "rules": lambda client: client.circulation_rules(category_id="PT12", library_id="CPL", item_type_id="BK"),
    "check password": lambda client: client.is_password_of(EXAMPLE_ID, "2000000051", Password("Tosho-2026")),
    **{
        ability.value: lambda client, ability=ability: client.check_ability(ability)
        for ability in Ability
        if ability is not Ability.SEE_STAFF_PERMISSIONS  # a route of the plugin's, not of Koha's
    },
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_the_contract_takes_every_request_of_the_client(contract, prism_url, recorder, call):
    transport = Transport(session=recorder, read_timeout=20)
    client = KohaClient(prism_url, OAuth2ClientCredentials(prism_url, "id", "secret", transport), transport)

    # What the contract has no example of, Prism makes up: patron 0, whom the client believes in nobody.
    with suppress(MalformedAnswer, Conflict):
        call(client)

    assert len(recorder.answers) >= 2
    for answer in recorder.answers:
        assert answer.status_code in (200, 201, 204), answer.text
        operation = operation_of(contract, answer.request.method, answer.request.url)
        query = {name for name, _ in parse_qsl(urlsplit(answer.request.url).query)}
        # Prism lets unknown parameters pass, Koha does not.
        assert query <= parameters_of(contract, operation, "query")
        headers = {name for name in answer.request.headers if name.startswith(("x-koha-o", "x-confirm"))}
        assert headers <= parameters_of(contract, operation, "header")


def test_the_contract_s_patron_is_read(prism_url):
    client = KohaClient(prism_url, BasicCredentials("bridge", "password"), Transport(read_timeout=20))

    patron = client.get_patron(EXAMPLE_ID)

    assert (patron.cardnumber, patron.category_id) == ("2000000051", "PT6")
    assert patron.expiry_date == date(2027, 3, 31)
    assert [category.enrolment_period for category in client.list_categories()] == [24, 24]


REFUSALS = {
    (401, "get"): KohaUnauthorized,
    (403, "get"): KohaForbidden,
    (404, "get"): PatronNotFound,
    (500, "get"): ServerFailed,
    (503, "get"): InMaintenance,
    (404, "attributes"): PatronNotFound,
    (403, "categories"): KohaForbidden,
}


@pytest.mark.parametrize(("case", "error"), REFUSALS.items(), ids=str)
def test_the_contract_s_refusals_are_typed(prism_url, recorder, case, error):
    status, call = case
    recorder.headers["Prefer"] = f"code={status}"
    client = KohaClient(
        prism_url, BasicCredentials("bridge", "password"), Transport(session=recorder, read_timeout=20)
    )

    with pytest.raises(error) as caught:
        CALLS[call](client)

    assert type(caught.value) is error


def test_the_contract_s_conflict_names_its_field(prism_url, recorder):
    def prefer_409_for_writes(request):
        request.headers["Prefer"] = "code=409" if request.method == "PUT" else "code=200"
        return request

    class Credentials(BasicCredentials):
        def __call__(self, request):
            return prefer_409_for_writes(super().__call__(request))

    transport = Transport(session=recorder, read_timeout=20)
    client = KohaClient(prism_url, Credentials("bridge", "password"), transport)

    with pytest.raises(Conflict) as caught:
        CALLS["card number"](client)

    assert caught.value.field == "cardnumber"


# --- The table of routes --------------------------------------------------------------------------

RELAXED_LATER = {Route.UPDATE_PATRON: {"borrowers:edit_borrowers"}}
"""Where the contract is of a release to come, and its permission is part of the one in our table."""


@pytest.mark.parametrize("route", list(Route), ids=lambda route: route.name)
def test_every_route_and_its_permissions_are_the_contract_s(contract, plugin_contract, route):
    described = plugin_contract if route.of_plugin else contract
    operation = described["paths"][API + route.path][route.method.lower()]
    wanted = operation["x-koha-authorization"]["permissions"]
    alternatives = wanted if isinstance(wanted, list) else [wanted]
    permissions = {f"{module}:{name}" for each in alternatives for module, name in each.items()}

    assert RELAXED_LATER.get(route, set(route.permissions(NEWEST))) == permissions


def test_the_plugin_asks_for_the_permission_of_the_table(plugin_contract):
    (route,) = (route for route in Route if route.of_plugin)
    operation = plugin_contract["paths"][API + route.path][route.method.lower()]
    ((module, name),) = operation["x-koha-authorization"]["permissions"].items()
    assert route.permissions(NEWEST) == (f"{module}:{name}",)


# --- The simulator --------------------------------------------------------------------------------


def as_json_schema(part):
    """Turn Swagger 2's x-nullable into a JSON schema's null."""
    if isinstance(part, list):
        return [as_json_schema(each) for each in part]
    if not isinstance(part, dict):
        return part
    schema = {name: as_json_schema(value) for name, value in part.items()}
    if part.get("x-nullable") is True:
        schema["type"] = [part["type"], "null"]
    return schema


@pytest.fixture(scope="module")
def definitions(contract):
    return as_json_schema(contract["definitions"])


def check_reply(contract, definitions, method, target, reply):
    responses = operation_of(contract, method, target)["responses"]
    assert str(reply.status.value) in responses, (method, target)
    schema = responses[str(reply.status.value)].get("schema")
    if schema is None:
        return
    validator = jsonschema.Draft4Validator(
        {**as_json_schema(schema), "definitions": definitions}, format_checker=jsonschema.FormatChecker()
    )
    validator.validate(reply.body)


@pytest.fixture
def replies_of(monkeypatch):
    """Keep what a simulated Koha answers: (method, target, reply)."""

    def keep(server):
        kept, answer = [], server.answer

        def record(method, target, headers, body):
            reply = answer(method, target, headers, body)
            kept.append((method, target, reply))
            return reply

        monkeypatch.setattr(server, "answer", record)
        return kept

    return keep


def everything(client):
    """Use every method of the client once, with success."""
    patron = client.find_patron_by_cardnumber(DemoPatron.FINE.value)
    patron = client.get_patron(patron.patron_id)
    patron = client.change_category(patron.patron_id, "PT12", patron.updated_on)
    patron = client.extend_expiry(patron.patron_id, date(2028, 3, 31), patron.updated_on)
    patron = client.change_cardnumber(patron.patron_id, "20260000000094", patron.updated_on)
    created = client.create_patron(NewPatron("新規", "CPL", "PT", "99", "shinki"))
    client.set_password(created.patron_id, "Tosho-2026", PasswordRules())
    added = client.add_extended_attribute(51, ExtendedAttribute("SCHOOL", "x"))
    client.change_extended_attribute(51, added.extended_attribute_id, "y")
    [replaced] = client.replace_extended_attributes(51, [ExtendedAttribute("STAFFNO", "7")])
    client.list_extended_attributes(51)
    client.delete_extended_attribute(51, replaced.extended_attribute_id)
    client.list_libraries()
    assert client.checkouts_of(51)
    assert client.holds_of(52)
    assert client.is_password_of(created.patron_id, "shinki", Password("Tosho-2026"))
    assert client.staff_standing(created.patron_id, CIRCULATE).tries_left is None
    for call in (
        client.list_categories,
        lambda: client.circulation_rules(category_id="PT", library_id="CPL"),
    ):
        with suppress(NotOffered):
            call()


def test_every_answer_of_the_simulator_is_the_contract_s(
    contract, plugin_contract, definitions, any_koha, client_of_any, state, replies_of
):
    state.check_out(state.get_patron(51), DemoItem.VOLUME_1.value)
    state.place_hold(state.get_patron(52), DemoItem.VOLUME_1.value, "CPL")
    replies = replies_of(any_koha)

    everything(client_of_any)

    assert len(replies) > 20
    for method, target, reply in replies:
        if reply.status != 404:  # of a release that lacks the route
            described = plugin_contract if "/contrib/" in target else contract
            check_reply(described, definitions, method, target, reply)


def test_every_refusal_of_the_simulator_is_the_contract_s(
    contract, definitions, koha, recorder, replies_of, client_id, client_secret
):
    replies = replies_of(koha)
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": "wrong"}
    recorder.post(f"{koha.base_url}/oauth/token", data=form, timeout=30)
    recorder.post(f"{koha.base_url}/oauth/token", data={}, timeout=30)
    recorder.get(f"{koha.base_url}/patrons/51", timeout=30)
    form["client_secret"] = client_secret
    token = recorder.post(f"{koha.base_url}/oauth/token", data=form, timeout=30).json()
    recorder.headers["Authorization"] = f"Bearer {token['access_token']}"
    body = {"surname": "図書", "library_id": "CPL", "category_id": "PT"}
    for document in (
        {},
        {**body, "falseproperty": 1},
        {**body, "category_id": "NOPE"},
        {**body, "cardnumber": DemoPatron.SECOND.value},
    ):
        recorder.put(f"{koha.base_url}/patrons/51", json=document, timeout=30)
        recorder.post(f"{koha.base_url}/patrons", json=document, timeout=30)
    recorder.put(f"{koha.base_url}/patrons/999", json=body, timeout=30)
    recorder.get(f"{koha.base_url}/patrons", params={"q": "{"}, timeout=30)
    recorder.post(f"{koha.base_url}/patrons/51/password", json={}, timeout=30)
    recorder.post(f"{koha.base_url}/patrons/51/extended_attributes", json={"type": "NOPE", "value": "x"})
    for document in ({"password": ""}, {"userid": "x", "identifier": "x", "password": ""}):
        recorder.post(f"{koha.base_url}/auth/password/validation", json=document, timeout=30)
    koha.permissions = frozenset()
    recorder.get(f"{koha.base_url}/patrons/51", timeout=30)
    koha.in_maintenance = True
    recorder.get(f"{koha.base_url}/patrons", timeout=30)

    assert {reply.status.value for *_, reply in replies} == {200, 400, 401, 403, 404, 409, 503}
    for method, target, reply in replies:
        check_reply(contract, definitions, method, target, reply)
