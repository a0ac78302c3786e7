"""Which cards are good, and whom to ask: trusted CAs and sources of revocation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from bridge.revocation.sources import CrlSweepSource, PacedSource, SweepSource
from bridge.verification import CardPolicy, LibraryRevocation
from bridge.wiring.policies import revocation_rules, source_names
from config import Mode, RevocationSettings, Settings
from jpki.circuit_breaker import BreakerPolicy, CircuitBreaker
from jpki.crl_index import CrlDirectory, CrlHead
from jpki.crl_source import CrlSource
from jpki.guarded_source import CachedSource, GuardedSource
from jpki.platform_mapping import PlatformMapping
from jpki.platform_source import PlatformSource
from jpki.revocation import RevocationSource
from jpki.revocation_chain import RevocationChain
from jpki.revocation_source import NoSource, OcspSource
from jpki.trust import TrustStore
from jpki.trust_files import load_directory
from jpki.verify import CertificatePolicy

QUESTIONS_AT_ONCE = 16
"""To one revocation source, from one process: as many as the server has threads. More than that are
questions that were given up and still wait somewhere."""


def build_card_policy(settings: Settings) -> CardPolicy:
    """Return which cards are good, and by whose word; needs no database."""
    return CardPolicy(
        trust_store=load_trust_store(settings),
        certificate=CertificatePolicy(frozenset(settings.jpki.policy_oids)),
        revocation=library_revocations(settings),
        challenge_lifetime=timedelta(seconds=settings.jpki.challenge_lifetime_seconds),
        answer_grace=timedelta(seconds=settings.revocation.grace_seconds),
        answer_limit=_longest_answer(settings),
    )


def load_trust_store(settings: Settings) -> TrustStore:
    """Return the imported CAs. Raises ``JpkiError``, ``OSError``."""
    return load_directory(
        settings.jpki.trust_directory,
        settings.jpki.pinned_fingerprints,
        allow_test=settings.mode is Mode.DEVELOPMENT,
    )


def _longest_answer(settings: Settings) -> timedelta:
    """Return how long a library's sources take that all let us wait, one after the other."""
    most = max((len(source_names(settings, library)) for library in settings.libraries), default=0)
    return timedelta(seconds=most * settings.revocation.timeout_seconds)


def library_revocations(settings: Settings) -> Mapping[str, LibraryRevocation]:
    """Return whom each library asks; the sources themselves, with their guards, are shared by all."""
    names = {library.library_id: source_names(settings, library) for library in settings.libraries}
    sources = {
        name: _source_named(name, settings.revocation)
        for name in dict.fromkeys(name for each in names.values() for name in each)
    }
    rules = revocation_rules(settings)
    return {
        library_id: LibraryRevocation(
            RevocationChain([sources[name] for name in names[library_id]], rule.freshness), rule
        )
        for library_id, rule in rules.items()
    }


def _source_named(name: str, revocation: RevocationSettings) -> RevocationSource:
    if name == "crl" and revocation.crl_directory is not None:
        return CrlSource(_crl_directory(revocation, revocation.crl_directory))
    if name == "ocsp" and revocation.ocsp_url is not None:
        return _guarded(_ocsp_source(revocation, revocation.ocsp_url), revocation)
    if name == "platform" and revocation.platform_file is not None:
        mapping = PlatformMapping.from_toml(revocation.platform_file.read_bytes(), revocation.platform_token)
        return _guarded(PlatformSource(mapping, timeout=revocation.timeout_seconds), revocation)
    return NoSource()  # nothing is configured, which the loader allows in development alone


def _guarded(source: RevocationSource, revocation: RevocationSettings) -> RevocationSource:
    guarded = GuardedSource(
        source,
        timeout=revocation.timeout_seconds,
        maximum_at_once=QUESTIONS_AT_ONCE,
        breaker=CircuitBreaker(BreakerPolicy()),
    )
    if not revocation.cache_minutes:
        return guarded
    return CachedSource(guarded, lifetime=timedelta(minutes=revocation.cache_minutes))


def sweep_sources(revocation: RevocationSettings) -> list[SweepSource]:
    """Return the sources in their order; a platform operator wants the certificate, which is not kept."""
    sources: list[SweepSource] = []
    for name in revocation.sources:
        if name == "crl" and revocation.crl_directory is not None:
            sources.append(CrlSweepSource(_crl_directory(revocation, revocation.crl_directory)))
        if name == "ocsp" and revocation.ocsp_url is not None:
            sources.append(
                PacedSource(
                    _ocsp_source(revocation, revocation.ocsp_url),
                    revocation.sweep_questions_per_second,
                    CircuitBreaker(BreakerPolicy()),
                )
            )
    return sources


def read_crl_heads(revocation: RevocationSettings) -> Callable[[], Sequence[CrlHead]]:
    """Return what reads the heads of the CRLs in force; of none where no CRL is used."""
    directory = revocation.crl_directory
    return (lambda: ()) if directory is None else CrlDirectory(directory).heads


def _ocsp_source(revocation: RevocationSettings, url: str) -> OcspSource:
    return OcspSource(url, timeout=revocation.timeout_seconds, prefer_get=revocation.ocsp_method == "GET")


def _crl_directory(revocation: RevocationSettings, directory: Path) -> CrlDirectory:
    return CrlDirectory(directory, revocation.crl_distribution_points)
