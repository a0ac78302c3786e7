"""Broken and hostile machines at the proxy: a small part of ``make fuzz ONLY=sip2``."""

from __future__ import annotations

import pytest

from fuzz.sip2 import run
from sip2_adapter import Result


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_frame_breaks_the_proxy_or_gets_at_another_machines_patron(seed):
    report = await run(seed, frames=4000)
    assert report.problems == []
    assert report.frames >= 4000
    for result in (Result.ANSWERED, Result.REFUSED, Result.BAD_CHECKSUM, Result.MALFORMED, Result.REPEATED):
        assert report.results[result] > 0


async def test_good_machines_are_all_answered():
    report = await run(1, frames=1000, honest=True)
    assert report.problems == []
    assert not report.results.keys() & {Result.REFUSED, Result.MALFORMED, Result.BAD_CHECKSUM}
