"""One test PKI for the whole session: making RSA keys is slow."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jpki.simulator.pki import CardPki, PkiKeys
from jpki.trust import TrustStore
from jpki.verify import CertificatePolicy

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def pki_keys() -> PkiKeys:
    return PkiKeys.generate()


@pytest.fixture(scope="session")
def pki(pki_keys: PkiKeys) -> CardPki:
    return CardPki.create(NOW, pki_keys)


@pytest.fixture(scope="session")
def trust_store(pki: CardPki) -> TrustStore:
    return pki.trust_store()


@pytest.fixture(scope="session")
def policy() -> CertificatePolicy:
    return CertificatePolicy()
