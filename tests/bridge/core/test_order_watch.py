"""Waiting at the desk for the next step of an order: told at once, nobody left waiting, threads not taken."""

from __future__ import annotations

import threading
import time

import pytest

from bridge.counter import watch
from bridge.counter.watch import MAXIMUM_WAITING, OrderWatch

LONG = 60.0
SOON = 20.0


@pytest.fixture(params=["with a counter of changes", "without"])
def desks(place, request):
    """The desks' watch, over a database that counts its changes or does not."""
    has_counter = request.param == "with a counter of changes"
    return OrderWatch(place.store.change_counter if has_counter else lambda: None)


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_step_is_told_as_soon_as_it_is_written(place, desks):
    request = place.start()

    def is_over():
        return not place.registration.request(place.librarian, request.request_id).state.is_open

    looked = threading.Event()

    def look():
        looked.set()
        return is_over()

    told = []
    waiting = in_thread(lambda: told.append((desks.wait(look, LONG), time.monotonic())))
    assert looked.wait(SOON)
    place.registration.cancel(place.librarian, request.request_id)
    written = time.monotonic()
    waiting.join(LONG)
    [(has_waited, told_at)] = told
    assert has_waited
    assert told_at - written < SOON


def test_what_has_changed_already_is_told_at_once(desks):
    begun = time.monotonic()
    assert desks.wait(lambda: True, LONG)
    assert time.monotonic() - begun < SOON


def test_a_wait_ends_by_itself(desks):
    begun = time.monotonic()
    assert desks.wait(lambda: False, 0.1)
    assert 0.1 <= time.monotonic() - begun < SOON


def test_it_is_asked_once_where_there_is_no_time_left(desks):
    asked = []
    assert desks.wait(lambda: asked.append(None), 0.0)
    assert asked == [None]


def test_where_nothing_is_written_the_database_is_not_asked(place):
    asked = []
    counted = OrderWatch(lambda: lambda: 1)
    counted.wait(lambda: asked.append(None), 20 * watch.LOOK_INTERVAL)
    assert len(asked) == 1


def test_too_many_that_wait_are_told_so_at_once_and_the_next_may_wait_again(desks):
    end = threading.Event()
    inside = threading.Semaphore(0)

    def held():
        inside.release()
        end.wait(LONG)
        return True

    waiting = [in_thread(lambda: desks.wait(held, LONG)) for _ in range(MAXIMUM_WAITING)]
    for _ in waiting:
        assert inside.acquire(timeout=SOON)
    assert not desks.wait(lambda: True, LONG)
    end.set()
    for thread in waiting:
        thread.join(LONG)
    assert desks.wait(lambda: True, LONG)


def test_a_wait_whose_question_fails_leaves_its_place_to_others(desks):
    def fail():
        raise ZeroDivisionError

    for _ in range(MAXIMUM_WAITING + 1):
        with pytest.raises(ZeroDivisionError):
            desks.wait(fail, LONG)
