"""The people and books of the demo, by the part they play. All of them are invented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, unique

from koha_client.simulator.entities import AttributeType, Branch, Category, Item, SimulatedPatron
from koha_client.simulator.state import KohaState

ADULT = Category("PT", "一般", loan_limit=6)
LINKED_ADULT = Category("PT12", "一般（カード連携）", loan_limit=12)
CHILD = Category("K", "児童", loan_limit=4)
VISITOR = Category("VI", "短期", loan_limit=2)
BRANCHES = (Branch("CPL", "中央図書館"), Branch("EPL", "東図書館"))
ATTRIBUTE_TYPES = (AttributeType("SCHOOL"), AttributeType("STAFFNO", unique=True))


@unique
class DemoPatron(Enum):
    """Who is who; the value is the number on the library card."""

    FINE = "20260000000018"
    SECOND = "20260000000025"
    EXPIRED = "20260000000032"
    RESTRICTED = "20260000000049"
    LIMIT_REACHED = "20260000000056"
    CHILD = "20260000000063"
    CARD_LOST = "20260000000070"
    EXPIRES_TODAY = "20260000000087"


@unique
class DemoItem(Enum):
    """Which book is which; the value is its barcode."""

    SECRETS_OF_THE_LIBRARY = "3000000017"
    HISTORY_OF_THE_CITY = "3000000024"
    STARS_IN_WINTER = "3000000031"
    BIRDS_OF_THE_RIVER = "3000000048"
    A_CAT_AND_A_BOOK = "3000000055"
    DICTIONARY = "3000000062"
    OUT_ON_LOAN_1 = "3000000079"
    OUT_ON_LOAN_2 = "3000000086"
    VOLUME_1 = "3000000093"
    VOLUME_2 = "3000000109"
    VOLUME_3 = "3000000116"
    VOLUME_4 = "3000000123"
    VOLUME_5 = "3000000130"
    VOLUME_6 = "3000000147"
    VOLUME_7 = "3000000154"


@dataclass(frozen=True)
class _Row:
    surname: str
    firstname: str
    userid: str
    category: Category = ADULT
    valid_for_days: int = 365
    restriction: str | None = None
    card_lost: bool = False


_PATRONS = {
    DemoPatron.FINE: _Row("図書", "太郎", "tosho"),
    DemoPatron.SECOND: _Row("読書", "花子", "dokusho"),
    DemoPatron.EXPIRED: _Row("期限", "次郎", "kigen", valid_for_days=-1),
    DemoPatron.RESTRICTED: _Row("制限", "三郎", "seigen", restriction="Overdue since spring"),
    DemoPatron.LIMIT_REACHED: _Row("満冊", "四郎", "mansatsu", category=VISITOR),
    DemoPatron.CHILD: _Row("児童", "はな", "jido", category=CHILD),
    DemoPatron.CARD_LOST: _Row("紛失", "五郎", "funshitsu", card_lost=True),
    DemoPatron.EXPIRES_TODAY: _Row("間近", "六郎", "majika", valid_for_days=0),
}

_TITLES = {
    DemoItem.SECRETS_OF_THE_LIBRARY: "図書館のひみつ",
    DemoItem.HISTORY_OF_THE_CITY: "見本市の歴史",
    DemoItem.STARS_IN_WINTER: "冬の星",
    DemoItem.BIRDS_OF_THE_RIVER: "川の鳥",
    DemoItem.A_CAT_AND_A_BOOK: "ねこと本",
    DemoItem.DICTIONARY: "大辞典",
    DemoItem.OUT_ON_LOAN_1: "旅の本 上",
    DemoItem.OUT_ON_LOAN_2: "旅の本 下",
    DemoItem.VOLUME_1: "見本市史 一",
    DemoItem.VOLUME_2: "見本市史 二",
    DemoItem.VOLUME_3: "見本市史 三",
    DemoItem.VOLUME_4: "見本市史 四",
    DemoItem.VOLUME_5: "見本市史 五",
    DemoItem.VOLUME_6: "見本市史 六",
    DemoItem.VOLUME_7: "見本市史 七",
}


def demo_state(clock: Callable[[], datetime]) -> KohaState:
    """Return a Koha with the demo's people and books; expiry dates count from the clock's today."""
    today = clock().date()
    patrons = [
        SimulatedPatron(
            patron_id=patron_id,
            cardnumber=patron.value,
            userid=row.userid,
            surname=row.surname,
            firstname=row.firstname,
            category_id=row.category.category_id,
            expiry_date=today + timedelta(days=row.valid_for_days),
            restriction=row.restriction,
            card_lost=row.card_lost,
        )
        for patron_id, (patron, row) in enumerate(_PATRONS.items(), start=51)
    ]
    items = [
        Item(item.value, title, not_for_loan=item is DemoItem.DICTIONARY) for item, title in _TITLES.items()
    ]
    state = KohaState(
        (ADULT, LINKED_ADULT, CHILD, VISITOR),
        patrons,
        items,
        clock=clock,
        branches=BRANCHES,
        attribute_types=ATTRIBUTE_TYPES,
    )
    limit_reached = state.find_patron_by_identifier(DemoPatron.LIMIT_REACHED.value)
    for item in (DemoItem.OUT_ON_LOAN_1, DemoItem.OUT_ON_LOAN_2):
        state.check_out(limit_reached, item.value)
    return state
