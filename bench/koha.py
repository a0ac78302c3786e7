"""The Koha client: what it costs beside a bare GET, and how many tokens eight threads need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import requests

from bench.figure import Figure, median_seconds
from koha_client import KohaClient, OAuth2ClientCredentials, Transport
from koha_client.simulator import DemoPatron, KohaRestServer, demo_state

THREADS = 8
SEARCHES_PER_THREAD = 20
CARDNUMBER = DemoPatron.FINE.value


def measure() -> Iterator[Figure]:
    """Yield the figures of issue "koha_client"."""
    state = demo_state(lambda: datetime.now().astimezone())
    with KohaRestServer(state, client_id="bench", client_secret="bench") as koha:
        yield Figure("koha.find_patron_ratio", _find_patron_ratio(koha), "ratio", 1.3, "lower")
        yield Figure("koha.token_requests", _token_requests(koha), "requests", 1, "lower")


def _new_client(koha: KohaRestServer) -> KohaClient:
    transport = Transport()
    auth = OAuth2ClientCredentials(koha.base_url, "bench", "bench", transport)
    return KohaClient(koha.base_url, auth, transport)


def _find_patron_ratio(koha: KohaRestServer) -> float:
    """The exact search of one patron, against the same GET by a bare session of requests."""
    client = _new_client(koha)
    with requests.Session() as session:
        form = {"grant_type": "client_credentials", "client_id": "bench", "client_secret": "bench"}
        token = session.post(f"{koha.base_url}/oauth/token", data=form, timeout=10).json()
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        params = {"q": json.dumps({"cardnumber": CARDNUMBER}), "_per_page": "2"}

        def bare() -> None:
            session.get(f"{koha.base_url}/patrons", params=params, timeout=10).json()

        def find() -> None:
            client.find_patron_by_cardnumber(CARDNUMBER)

        bare(), find()
        # By turns, so that both see the same machine.
        ratios = [
            median_seconds(find, rounds=5, repeats=20) / median_seconds(bare, rounds=5, repeats=20)
            for _ in range(7)
        ]
    return sorted(ratios)[len(ratios) // 2]


def _token_requests(koha: KohaRestServer) -> int:
    """Eight threads that begin at once with one client."""
    client = _new_client(koha)
    before = koha.tokens_granted
    with ThreadPoolExecutor(THREADS) as threads:
        list(
            threads.map(
                lambda _: client.find_patron_by_cardnumber(CARDNUMBER),
                range(THREADS * SEARCHES_PER_THREAD),
            )
        )
    return koha.tokens_granted - before
