"""The application around API and admin: headers, cookies, health, and errors outside of both."""

from base64 import b64encode

import pytest
from flask import session

from bridge.app import create_app_from
from bridge.store import open_engine, upgrade
from bridge.wiring import build_bridge
from config.settings import (
    DatabaseSettings,
    IdentifierSettings,
    JpkiSettings,
    KeySettings,
    LinkSettings,
    LoggingSettings,
    MetricsSettings,
    Mode,
    RevocationSettings,
    Settings,
    Sip2Limits,
    TokenSettings,
    VerifierSettings,
    WebSettings,
)


@pytest.fixture
def client(app):
    return app.test_client()


def test_health_needs_no_token_and_says_ok(client):
    response = client.get("/healthz")
    assert (response.status_code, response.get_json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/terminal", "/api/nowhere", "/nowhere"])
def test_every_answer_has_the_security_headers(client, path):
    headers = client.get(path).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Strict-Transport-Security"].startswith("max-age=")
    assert headers["Cache-Control"] == "no-store"


def test_the_session_cookie_is_for_this_site_and_https_alone(app):
    assert app.config["SESSION_COOKIE_SECURE"] is True
    assert app.config["SESSION_COOKIE_HTTPONLY"] is True
    assert app.config["SESSION_COOKIE_SAMESITE"] == "Strict"


@pytest.mark.parametrize(
    ("path", "has_session"), [("/admin/", True), ("/api/v1/terminal", False), ("/api/v1/desk", False)]
)
def test_the_cookie_is_of_the_admin_alone(app, path, has_session):
    with app.test_request_context(path):
        assert app.session_interface.is_null_session(session._get_current_object()) is not has_session


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/api/v1/nowhere", 404, "not-found"),
        ("GET", "/api/", 404, "not-found"),
        ("GET", "/api/v1/challenges", 405, "method-not-allowed"),
        ("DELETE", "/api/v1/terminal", 405, "method-not-allowed"),
    ],
)
def test_what_the_api_does_not_have_is_a_problem(client, method, path, status, slug):
    response = client.open(path, method=method)
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["type"].endswith(f":{slug}")


@pytest.mark.parametrize(
    ("language", "words"), [("ja", "そのページはありません。"), ("en", "There is no such page.")]
)
def test_elsewhere_an_unknown_page_is_told_in_the_language_of_the_browser(client, language, words):
    response = client.get("/nowhere", headers={"Accept-Language": language})
    page = response.get_data(as_text=True)
    assert (response.status_code, response.mimetype) == (404, "text/html")
    assert f'<html lang="{language}">' in page
    assert words in page
    assert 'href="/admin/"' in page


def test_a_method_that_an_address_does_not_have_is_told_with_those_that_it_has(client):
    response = client.post("/healthz", headers={"Accept-Language": "en"})
    assert (response.status_code, response.mimetype) == (405, "text/html")
    assert "GET" in response.headers["Allow"]
    assert "There is no such page." in response.get_data(as_text=True)


def test_an_unforeseen_error_shows_and_logs_no_text(app, caplog):
    caplog.set_level(1)

    def fail():
        raise RuntimeError("a secret")

    app.add_url_rule("/fail", "fail", fail)
    app.add_url_rule("/api/fail", "api_fail", fail)
    client = app.test_client()
    for path in ("/fail", "/api/fail"):
        response = client.get(path)
        assert response.status_code == 500
        assert "secret" not in response.get_data(as_text=True)
    assert "RuntimeError" in caplog.text
    assert "a secret" not in caplog.text


def test_the_admin_keeps_its_csrf_protection(app):
    login = app.url_map.bind("localhost").build("admin.log_in")
    response = app.test_client().post(login, data={"login_name": "sato", "password": "correct horse"})
    assert response.status_code == 400


def test_the_application_is_made_of_settings(tmp_path):
    database = f"sqlite:///{tmp_path / 'bridge.db'}"
    upgrade(open_engine(database))
    key_file = tmp_path / "master.keys"
    key_file.write_text(f"test {b64encode(bytes(range(32))).decode()}\n", encoding="ascii")
    key_file.chmod(0o600)
    (tmp_path / "trust").mkdir()
    settings = Settings(
        mode=Mode.DEVELOPMENT,
        web=WebSettings(host="127.0.0.1", port=0, secret_key="k" * 32, secure_cookies=False),
        database=DatabaseSettings(database),
        keys=KeySettings(key_file),
        jpki=JpkiSettings(tmp_path / "trust", ()),
        verifier=VerifierSettings(),
        links=LinkSettings(),
        revocation=RevocationSettings(),
        tokens=TokenSettings(),
        logging=LoggingSettings(),
        metrics=MetricsSettings(),
        sip2=Sip2Limits(),
        identifiers=IdentifierSettings(),
        libraries=(),
    )
    bridge = build_bridge(settings)
    app = create_app_from(bridge.services, bridge.session_factory, settings.web)
    response = app.test_client().get("/healthz")
    assert response.status_code == 200
    assert "Strict-Transport-Security" not in response.headers
    assert app.config["SESSION_COOKIE_SECURE"] is False
