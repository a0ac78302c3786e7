"""What the tests' machines send, and whom it is about."""

from __future__ import annotations

DATE = b"20261120    155739"
CARD = b"20000000000001"
OTHER_CARD = b"20000000000009"
TOKEN = b"98000000000017"
OTHER_TOKEN = b"98000000000025"
BOOK = b"39999000000001"
HELD_BOOK = b"39999000000005"

STATUS = b"9900802.00"


def patron_information(identifier, summary=b" " * 10, language=b"000"):
    return b"63" + language + DATE + summary + b"AOCPL|AA" + identifier + b"|"


def checkout(identifier, item=BOOK):
    return b"11YN" + DATE * 2 + b"AOCPL|AA" + identifier + b"|AB" + item + b"|AC|"


def checkin(item=BOOK):
    return b"09N" + DATE * 2 + b"APCPL|AOCPL|AB" + item + b"|AC|"


def end_session(identifier):
    return b"35" + DATE + b"AOCPL|AA" + identifier + b"|"


def fault_on(code, fault, times=99):
    left = [times]

    def plan(_, seen):
        if seen == code and left[0]:
            left[0] -= 1
            return fault
        return None

    return plan
