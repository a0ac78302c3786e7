"""The targets of ``make fuzz``, for as long as a test may take, and always with the same inputs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import ScriptedCard, Target, make_targets, visit
from jpki.errors import CardRemoved
from tests.jpki.effort import within_reason

TARGETS = ("certificate", "ocsp-answer", "challenge-message", "command-apdu", "card-session")
quick = settings(
    max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def targets(pki, now) -> dict[str, Target]:
    return {target.name: target for target in make_targets(pki, now)}


@pytest.fixture(params=TARGETS)
def target(request, targets) -> Target:
    return targets[request.param]


def test_every_target_is_run_here(targets):
    assert tuple(targets) == TARGETS


def test_the_seeds_hold(target):
    assert target.seeds
    for seed in target.seeds:
        target.run(seed)


@quick
@given(data=st.binary(max_size=400))
def test_random_bytes_hold(target, data):
    with within_reason():
        target.run(data)


@quick
@given(data=st.data())
def test_changed_seeds_hold(target, data):
    seed = data.draw(st.sampled_from(target.seeds))
    at = data.draw(st.integers(0, len(seed)))
    removed = data.draw(st.integers(0, 4) | st.integers(0, len(seed)))
    changed = seed[:at] + data.draw(st.binary(max_size=8)) + seed[at + removed :]
    with within_reason():
        target.run(changed)


def test_the_seed_of_the_card_session_is_a_visit_to_its_end(targets):
    (script,) = targets["card-session"].seeds
    visit(ScriptedCard(script))
    with pytest.raises(CardRemoved):
        visit(ScriptedCard(script[:-300]))


def test_a_target_fails_where_a_stranger_is_believed(pki, now, targets):
    with pytest.raises(AssertionError, match="no CA issued"):
        targets["certificate"].run(pki.issue_card().certificate_der)
