"""The simulator answers as Koha does, so that what passes here passes there."""

import json
import re
from pathlib import Path

import pytest
import requests

from koha_client.simulator import EDIT_BORROWERS, DemoPatron

CONTRACT = Path(__file__).parents[2].parent / "shared/koha-openapi/koha-subset.prefixed.yaml"
FINE = DemoPatron.FINE.value


@pytest.fixture
def session(koha, client_id, client_secret):
    with requests.Session() as session:
        form = {"grant_type": "client_credentials", "client_id": client_id}
        form["client_secret"] = client_secret
        token = session.post(f"{koha.base_url}/oauth/token", data=form, timeout=5).json()
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        yield session


@pytest.fixture
def get(koha, session):
    def get(route, **parameters):
        return session.get(f"{koha.base_url}{route}", params=parameters, timeout=5)

    return get


def test_a_token_is_a_bearer_token_for_an_hour(koha, client_id, client_secret):
    form = {"grant_type": "client_credentials", "client_id": client_id}
    form["client_secret"] = client_secret

    answer = requests.post(f"{koha.base_url}/oauth/token", data=form, timeout=5)

    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 3600)


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "Unimplemented grant type"),
        ({"grant_type": "password"}, 400, "Unimplemented grant type"),
        ({"grant_type": "client_credentials"}, 403, "unauthorized_client"),
    ],
    ids=["no grant type", "another grant type", "no client"],
)
def test_a_token_is_refused(koha, form, status, error):
    answer = requests.post(f"{koha.base_url}/oauth/token", data=form, timeout=5)

    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_a_token_ends_after_its_hour(get, clock):
    clock.moment = clock.moment.replace(hour=15, minute=59, second=59)
    assert get("/patrons/51").status_code == 200
    clock.moment = clock.moment.replace(hour=16, minute=0, second=0)
    assert get("/patrons/51").json() == {"error": "Authentication failure."}


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        ("", "Authentication failure."),
        ("Bearer nonsense", "Authentication failure."),
        ("Basic YTpi", "Basic authentication disabled"),
    ],
    ids=["nothing", "unknown token", "basic"],
)
def test_without_good_credentials_nothing_is_shown(koha, authorization, error):
    answer = requests.get(f"{koha.base_url}/patrons", headers={"Authorization": authorization}, timeout=5)

    assert (answer.status_code, answer.json()) == (401, {"error": error})


def test_a_bare_card_number_matches_what_contains_it(get):
    assert len(get("/patrons", cardnumber="2026").json()) == len(DemoPatron)
    assert len(get("/patrons", cardnumber="2026", _match="exact").json()) == 0
    assert len(get("/patrons", cardnumber=FINE, _match="exact").json()) == 1
    assert len(get("/patrons", cardnumber="2026", _match="starts_with").json()) == len(DemoPatron)
    assert len(get("/patrons", cardnumber=FINE[-2:], _match="ends_with").json()) == 1
    assert get("/patrons", cardnumber="2026", _match="roughly").status_code == 400


def test_q_matches_exactly_but_without_case(get):
    q = json.dumps({"userid": "TOSHO"})

    assert [record["cardnumber"] for record in get("/patrons", q=q).json()] == [FINE]


@pytest.mark.parametrize(
    "q",
    [
        "{",
        "[]",
        '"text"',
        '{"nofield": 1}',
        '[{"cardnumber": "1"}, {"nofield": 1}]',
        '{"cardnumber": {"-sleep": 9}}',
        '{"cardnumber": {"-in": "1"}}',
        '{"cardnumber": [{"-sleep": 9}]}',
        '{"-or": 1}',
    ],
)
def test_a_q_that_is_not_understood_is_refused(get, q):
    answer = get("/patrons", q=q)

    assert answer.status_code == 400
    assert answer.json()["error_code"] == "invalid_query"


def test_an_unknown_parameter_is_an_array_of_errors(get):
    answer = get("/patrons", foo="1")

    assert answer.status_code == 400
    assert answer.json() == [{"path": "/query/foo", "message": "Malformed query string"}]
    assert get("/patrons/51", foo="1").status_code == 400


def test_a_list_comes_in_pages(get):
    answer = get("/patrons", _per_page="3", _page="2")

    assert [record["patron_id"] for record in answer.json()] == [54, 55, 56]
    assert answer.headers["X-Total-Count"] == str(len(DemoPatron))
    assert answer.headers["X-Base-Total-Count"] == str(len(DemoPatron))
    assert set(answer.links) == {"prev", "next", "first", "last"}
    assert len(get("/patrons", _per_page="-1").json()) == len(DemoPatron)


@pytest.mark.parametrize("page", [{"_page": "x"}, {"_page": "0"}, {"_per_page": "-2"}], ids=str)
def test_a_page_that_cannot_be_is_refused(get, page):
    assert get("/patrons", **page).status_code == 400


def test_a_missing_permission_is_named(get, koha):
    koha.permissions = frozenset({EDIT_BORROWERS})

    refused = get("/patrons")

    assert refused.status_code == 403
    assert refused.json()["required_permissions"] == {"borrowers": "list_borrowers"}
    assert get("/patrons/51").status_code == 200


def test_one_patron_is_found_or_not(get):
    assert get("/patrons/51").json()["cardnumber"] == FINE
    assert get("/patrons/999").json()["error"] == "Patron not found"
    assert get("/patrons/abc").json()["errors"][0]["path"] == "/patron_id"
    assert get("/nothing").status_code == 404


def test_nothing_is_written_to_standard_error(get, capfd):
    get("/patrons", q=json.dumps({"cardnumber": FINE}))

    assert capfd.readouterr() == ("", "")


def test_the_request_id_comes_back(koha, session):
    answer = session.get(f"{koha.base_url}/patrons/51", headers={"x-koha-request-id": "7"}, timeout=5)

    assert answer.headers["x-koha-request-id"] == "7"


def patron_definition():
    """Return name -> (type, nullable) of the contract's patron object.

    The contract is a YAML file of a regular shape; the project has no YAML parser.
    """
    if not CONTRACT.exists():
        pytest.skip(f"the contract of Koha's REST API is not at {CONTRACT.parent.name}/")
    text = CONTRACT.read_text(encoding="utf-8")
    block = re.search(r"^  patron:\n    type: object\n    properties:\n((?: {6}.*\n)+)", text, re.MULTILINE)[
        1
    ]
    fields = re.findall(r"^ {6}(\w+):\n((?: {8}.*\n)+)", block, re.MULTILINE)
    return {name: (re.search(r"type: (\w+)", body)[1], "x-nullable: true" in body) for name, body in fields}


TYPES = {"integer": int, "string": str, "boolean": bool}


def test_a_patron_has_the_fields_and_types_of_koha_s_contract(get):
    definition = patron_definition()
    assert len(definition) > 60

    for record in get("/patrons", _per_page="-1").json():
        for name, value in record.items():
            kind, nullable = definition[name]
            assert type(value) is TYPES[kind] or (value is None and nullable), name
