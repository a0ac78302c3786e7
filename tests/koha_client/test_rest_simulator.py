"""The simulator answers as Koha does, so that what passes here passes there."""

import json

import pytest
import requests

from koha_client import KohaVersion
from koha_client.simulator import EDIT_BORROWERS, DemoItem, DemoPatron
from koha_client.simulator.patron_json import PatronsRefused, add_patrons

FINE = DemoPatron.FINE.value


@pytest.fixture
def session(koha, client_id, client_secret):
    with requests.Session() as session:
        form = {"grant_type": "client_credentials", "client_id": client_id}
        form["client_secret"] = client_secret
        token = session.post(f"{koha.base_url}/oauth/token", data=form, timeout=30).json()
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        yield session


@pytest.fixture
def get(koha, session):
    def get(route, **parameters):
        return session.get(f"{koha.base_url}{route}", params=parameters, timeout=30)

    return get


def test_a_token_is_a_bearer_token_for_an_hour(koha, client_id, client_secret):
    form = {"grant_type": "client_credentials", "client_id": client_id}
    form["client_secret"] = client_secret

    answer = requests.post(f"{koha.base_url}/oauth/token", data=form, timeout=30)

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
    answer = requests.post(f"{koha.base_url}/oauth/token", data=form, timeout=30)

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
    answer = requests.get(f"{koha.base_url}/patrons", headers={"Authorization": authorization}, timeout=30)

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
    answer = session.get(f"{koha.base_url}/patrons/51", headers={"x-koha-request-id": "7"}, timeout=30)

    assert answer.headers["x-koha-request-id"] == "7"


# --- Writes ---------------------------------------------------------------------------------------

BODY = {"surname": "図書", "library_id": "CPL", "category_id": "PT"}


@pytest.fixture
def send(koha, session):
    def send(method, route, document=None, **headers):
        url = f"{koha.base_url}{route}"
        return session.request(method, url, json=document, headers=headers, timeout=30)

    return send


def test_a_put_sets_the_columns_that_it_supplies(send, get):
    answer = send("PUT", "/patrons/51", {**BODY, "category_id": "PT12", "email": "tosho@example.invalid"})

    assert answer.status_code == 200
    assert answer.json() == get("/patrons/51").json()
    assert answer.json()["category_id"] == "PT12"
    assert answer.json()["email"] == "tosho@example.invalid"
    assert answer.json()["firstname"] == "太郎"


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"surname": ...}, "/body/surname", "Missing property."),
        ({"library_id": None}, "/body/library_id", "Expected string - got null."),
        ({"expired": False}, "/body/expired", "Read-only."),
        ({"patron_id": 51}, "/body/patron_id", "Read-only."),
        ({"restricted": True}, "/body/restricted", "Read-only."),
        ({"falseproperty": 1}, "/body", "Properties not allowed: falseproperty."),
        ({"cardnumber": 1}, "/body/cardnumber", "Expected string - got number."),
        ({"patron_card_lost": "yes"}, "/body/patron_card_lost", "Expected boolean - got string."),
        ({"expiry_date": "31.3.2027"}, "/body/expiry_date", "Does not match date format."),
    ],
    ids=str,
)
def test_a_body_that_the_specification_forbids_is_refused(send, get, change, path, message):
    before = get("/patrons/51").json()
    body = {name: value for name, value in {**BODY, **change}.items() if value is not ...}

    for method, route in (("PUT", "/patrons/51"), ("POST", "/patrons")):
        answer = send(method, route, body)
        assert answer.status_code == 400
        assert answer.json() == {"errors": [{"message": message, "path": path}], "status": 400}
    assert get("/patrons/51").json() == before


@pytest.mark.parametrize("document", [None, [], "text"], ids=str)
def test_a_body_must_be_an_object(send, document):
    assert send("PUT", "/patrons/51", document).json()["errors"][0]["path"] == "/body"


@pytest.mark.parametrize(
    ("change", "status", "answer"),
    [
        ({"category_id": "NOPE"}, 400, {"error": "Given category_id does not exist"}),
        ({"library_id": "NOPE"}, 400, {"error": "Given library_id does not exist"}),
        ({"userid": "DOKUSHO"}, 400, {"error": "Problem with DOKUSHO"}),
        (
            {"cardnumber": DemoPatron.SECOND.value},
            409,
            {"error": "Duplicate ID", "conflict": "borrowers.cardnumber"},
        ),
    ],
    ids=str,
)
def test_a_controller_refuses_what_cannot_be(send, change, status, answer):
    refused = send("PUT", "/patrons/51", {**BODY, **change})

    assert (refused.status_code, refused.json()) == (status, answer)


def test_a_new_patron_has_a_place_and_defaults(send, get, state):
    answer = send("POST", "/patrons", {**BODY, "firstname": "七子"})

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/v1/patrons/{answer.json()['patron_id']}"
    assert answer.json()["userid"] == "七子.図書"
    assert answer.json()["cardnumber"]
    assert answer.json()["expiry_date"]
    assert state.welcome_mails == [answer.json()["patron_id"]]


def test_a_new_patron_may_bring_attributes(send):
    attribute = {"type": "SCHOOL", "value": "見本市立第一小学校"}
    answer = send(
        "POST",
        "/patrons",
        {**BODY, "extended_attributes": [attribute]},
        **{"x-koha-embed": "extended_attributes"},
    )

    assert answer.json()["extended_attributes"][0].items() >= attribute.items()


def test_patrons_know_no_patch(send):
    assert send("PATCH", "/patrons/51", BODY).status_code == 405


PASSWORDS = {
    "Passwords don't match": ("Tosho-2026", "Tosho-2027"),
    "Password length (4) is shorter than required (8)": ("Ab1!", "Ab1!"),
    "Password contains leading/trailing whitespace character(s)": ("Tosho-2026 ", "Tosho-2026 "),
    "Password is too weak": ("toshotosho", "toshotosho"),
}


@pytest.mark.parametrize(("words", "passwords"), PASSWORDS.items(), ids=list(PASSWORDS))
def test_a_password_is_refused_in_koha_s_words(send, words, passwords):
    document = dict(zip(("password", "password_2"), passwords, strict=True))
    answer = send("POST", "/patrons/51/password", document)

    assert (answer.status_code, answer.json()) == (400, {"error": words})


def test_a_password_is_taken_with_an_empty_text(send, state):
    document = dict.fromkeys(("password", "password_2"), "Tosho-2026")

    assert send("POST", "/patrons/51/password", document).json() == ""
    assert state.get_patron(51).password == "Tosho-2026"
    assert send("POST", "/patrons/51/password", {"password": "x"}).status_code == 400
    assert send("POST", "/patrons/51/password", []).status_code == 400


@pytest.mark.parametrize("document", [None, {}, {"type": "SCHOOL"}, {"type": 1, "value": "x"}], ids=str)
def test_an_attribute_must_have_a_type_and_a_value(send, document):
    assert send("POST", "/patrons/51/extended_attributes", document).status_code == 400
    assert send("PUT", "/patrons/51/extended_attributes", document).status_code == 400
    assert send("PATCH", "/patrons/51/extended_attributes/1", {"value": 1}).status_code == 400


def test_an_attribute_is_deleted_without_a_body(send):
    added = send("POST", "/patrons/51/extended_attributes", {"type": "SCHOOL", "value": "x"})
    route = f"/patrons/51/extended_attributes/{added.json()['extended_attribute_id']}"

    gone = send("DELETE", route)

    assert (gone.status_code, gone.content) == (204, b"")
    assert send("DELETE", route).json()["error"] == "Attribute not found"


# --- Search ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ({"cardnumber": [FINE, DemoPatron.SECOND.value]}, [51, 52]),
        ([{"userid": "tosho"}, {"userid": "dokusho"}], [51, 52]),
        ({"-or": [{"userid": "tosho"}, {"userid": "dokusho"}]}, [51, 52]),
        ({"-and": [{"userid": "tosho"}, {"patron_id": 52}]}, []),
        ({"cardnumber": {"-like": "%0018"}}, [51]),
        ({"me.patron_id": {"-in": [51, 53]}}, [51, 53]),
        ({"patron_id": {"<": 53, ">=": 52}}, [52]),
        ({"surname": "図書", "userid": {"!=": "tosho"}}, []),
        ({"userid": {"-not_like": "%o", "-not_in": ["kigen"]}}, [54, 55, 57, 58]),
    ],
    ids=str,
)
def test_q_is_understood_as_koha_documents_it(get, q, found):
    assert [record["patron_id"] for record in get("/patrons", q=json.dumps(q)).json()] == found


def test_a_list_is_ordered_as_asked(get):
    answer = get("/patrons", _order_by="-patron_id", _per_page="2")
    by_category = get("/patrons", _order_by="+category_id,-patron_id", _per_page="-1")

    assert [record["patron_id"] for record in answer.json()] == [58, 57]
    assert [record["patron_id"] for record in by_category.json()] == [56, 58, 57, 54, 53, 52, 51, 55]
    assert get("/patrons", _order_by="nope").status_code == 400


def test_items_are_found_by_barcode(get, state):
    answer = get("/items", external_id=DemoItem.DICTIONARY.value, _match="exact")

    assert [item["item_id"] for item in answer.json()] == [state.item_id(DemoItem.DICTIONARY.value)]
    assert answer.json()[0]["not_for_loan_status"] == 1


@pytest.mark.parametrize("version", list(KohaVersion), ids=lambda version: version.value)
def test_a_patron_has_the_fields_of_its_release(koha, get, version):
    koha.version = version
    record = get("/patrons/51").json()

    assert ("protected" in record) == version.is_at_least(KohaVersion.V23_11)
    assert ("preferred_name" in record) == version.is_at_least(KohaVersion.V24_11)
    assert get("/patrons", preferred_name="x").status_code == (200 if "preferred_name" in record else 400)


# --- Patrons from a file --------------------------------------------------------------------------


def test_patrons_are_added_from_records(state):
    record = {**BODY, "cardnumber": "99", "firstname": "八子", "expiry_date": "2027-03-31"}

    assert add_patrons(state, [record], KohaVersion.V25_11) == 1
    assert state.find_patron_by_identifier("99").name == "八子 図書"


@pytest.mark.parametrize(
    "records", [{}, [1], [{}], [{**BODY, "cardnumber": FINE}], [{**BODY, "category_id": "NOPE"}]], ids=str
)
def test_records_that_koha_would_refuse_are_refused(state, records):
    with pytest.raises(PatronsRefused):
        add_patrons(state, records, KohaVersion.V25_11)
