"""What the bridge is told of reader and output, and how often."""

import pytest

from bridge.agent.api_client import OutputStatus, ReaderStatus
from bridge.agent.errors import BridgeUnreachable, OutputUnavailable
from bridge.agent.report import REPORT_EVERY, StateReporter


class Bridge:
    def __init__(self):
        self.told = []
        self.away = False

    def report_state(self, reader, output):
        if self.away:
            raise BridgeUnreachable("ConnectionError")
        self.told.append((reader, output))


class Reader:
    def __init__(self):
        self.now = ReaderStatus.READY

    def status(self):
        return self.now


class Output:
    def __init__(self, *, works):
        self.works = works

    def check(self):
        if not self.works:
            raise OutputUnavailable("/dev/ttyUSB0", "FileNotFoundError")
        return "serial line"


@pytest.fixture
def place():
    class Place:
        bridge, reader, now = Bridge(), Reader(), 0.0

    return Place()


def reporter(place, output=None):
    return StateReporter(place.bridge, place.reader, output, lambda: place.now)


def test_it_is_told_at_once_and_then_every_half_minute(place):
    report = reporter(place)
    for place.now in (0.0, 1.0, REPORT_EVERY - 1, REPORT_EVERY, REPORT_EVERY + 1):
        report.tell()
    assert place.bridge.told == [(ReaderStatus.READY, OutputStatus.NONE)] * 2


def test_a_reader_that_is_unplugged_is_told_at_once(place):
    report = reporter(place)
    report.tell()
    place.reader.now = ReaderStatus.MISSING
    report.tell()
    assert [reader for reader, _ in place.bridge.told] == [ReaderStatus.READY, ReaderStatus.MISSING]


def test_what_did_not_arrive_is_told_again(place):
    report = reporter(place)
    place.bridge.away = True
    report.tell()
    place.bridge.away = False
    report.tell()
    assert len(place.bridge.told) == 1


@pytest.mark.parametrize(("works", "status"), [(True, OutputStatus.READY), (False, OutputStatus.UNAVAILABLE)])
def test_the_output_is_told_as_it_was_found(place, works, status):
    reporter(place, Output(works=works)).tell()
    assert place.bridge.told == [(ReaderStatus.READY, status)]
