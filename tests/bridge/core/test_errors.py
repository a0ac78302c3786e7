"""Slugs: one for each refusal, stable, and none twice."""

from __future__ import annotations

import re

import pytest

from bridge import errors
from bridge.cli.words import HINTS, operator_words, refusal_line
from bridge.errors import JPKI_SLUGS, BridgeError, Denied, slug_of
from bridge.rules import DenialReason
from jpki.errors import CertificateError, ChallengeError, InvalidSignature, NoReader

BRIDGE_ERRORS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, BridgeError) and each not in (BridgeError, Denied)
]
SERVER_SIDE = [*CertificateError.__subclasses__(), *ChallengeError.__subclasses__(), InvalidSignature]


def test_every_refusal_has_a_slug_of_its_own():
    slugs = [error.slug for error in BRIDGE_ERRORS]
    assert len(set(slugs)) == len(slugs)
    assert BridgeError.slug not in slugs
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in slugs)


@pytest.mark.parametrize("error", SERVER_SIDE)
def test_every_certificate_and_challenge_error_has_a_slug(error):
    assert error in JPKI_SLUGS


@pytest.mark.parametrize("reason", DenialReason)
def test_a_denial_is_named_by_its_reason(reason):
    assert slug_of(Denied(reason)) == reason.value


def test_an_error_without_a_slug_is_our_own_fault():
    assert slug_of(NoReader()) == "internal-error"


@pytest.mark.parametrize("slug", sorted({error.slug for error in BRIDGE_ERRORS} | set(DenialReason)))
def test_every_refusal_has_words_at_the_command_line(slug):
    assert operator_words(slug, "").strip()
    assert refusal_line(slug) == f"{slug}: {operator_words(slug, '')}"


def test_every_hint_is_one_for_a_refusal():
    assert set(HINTS) <= {error.slug for error in BRIDGE_ERRORS}


def test_the_drawn_tree_names_every_error():
    assert all(error.__name__ in errors.__doc__ for error in BRIDGE_ERRORS)
