"""The story that the demo tells, step by step. Each step says what it did, and fails if it did not hold.

The sentences stand in Japanese and in English, because the people who look at a demo in a city hall read
the one, and those who look for help abroad the other.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta

import requests

from bridge.demo.cards import DemoCard, Visit
from bridge.demo.desk import Desk, DeskError, wait_for_end
from bridge.demo.kiosk import SelfCheckMachine
from bridge.demo.stack import LIBRARIAN, PIN, SECOND_LIBRARIAN, WRONG_PIN, Place, Stack
from bridge.models import RepresentativeCheck
from jpki.card import JpkiSession, Pin
from jpki.simulator.card import SimulatedConnection
from koha_client.simulator.demo_data import ADULT, LINKED_ADULT, DemoItem, DemoPatron
from koha_client.simulator.entities import Category

HTTP_SECONDS = 20

VOLUMES = tuple(item for item in DemoItem if item.name.startswith("VOLUME_"))
"""One more than an adult without a linked card may have."""


class StepFailed(Exception):
    """Something in the story did not happen as told; the text says what."""


def expect(condition: object, otherwise: str) -> None:
    """Raise ``StepFailed`` with *otherwise* unless *condition* holds."""
    if not condition:
        raise StepFailed(otherwise)


@dataclass(frozen=True)
class Told:
    """One step after it was told: its sentence, what was seen, how long it took."""

    sentence: str
    seen: str
    held: bool
    seconds: float


class Story:
    """Tells the steps one after the other on a stack that runs."""

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._say = say
        self._told: list[Told] = []
        self._desk = Desk(stack.bridge_url)
        self._desk_there = Desk(stack.bridge_url)
        self._resources = ExitStack()
        self._kiosk: SelfCheckMachine | None = None
        self._token = ""

    def tell(self) -> list[Told]:
        """Tell everything. After a step that did not hold the rest is still told where it can be."""
        with self._resources:
            self._chapter("1. カウンターで連携登録 / Linking at the counter")
            self._step(
                "図書館員がログインし、利用者カードで利用者を探す / librarian finds the patron", self._find
            )
            self._step("マイナンバーカードを連携する / card, PIN, signature: the link is made", self._link)
            self._chapter("2. 自動貸出機で借りる / Borrowing at the self-check machine")
            self._step(
                "同じカードの番号がシリアル線で届く / the card gives a token, over the serial line",
                self._open_session,
            )
            self._step(
                "SIP2 で利用者情報を問い合わせる / log-in, patron information", self._patron_information
            )
            self._step("2 冊借りる / two books are borrowed", self._borrow)
            self._step("1 冊返す / one is returned", self._return_one)
            self._step(
                "貸出機に利用者番号は届かない / the machine never saw the card number", self._never_seen
            )
            self._step("貸出終了 / the session ends", self._end_session)
            self._chapter("3. 連携した人は 12 冊まで / Twelve books for who is linked, in place of six")
            self._step("プラスチックカードでは 7 冊目を断る / the plastic card gets six", self._six_books)
            self._step("連携するとKohaの利用者区分が変わる / linking moves the patron's category", self._move)
            self._step("同じ 7 冊目が借りられる / now the seventh book is lent", self._seventh_book)
            self._step("連携をやめると元の区分に戻る / unlinking moves back", self._move_back)
            self._chapter("4. 二つの図書館 / Two libraries on one bridge")
            self._step(
                "同じカードを隣町の図書館でも連携する / the same card, linked by itself", self._link_there
            )
            self._step(
                "二つの館の識別子は突き合わせられない / nothing in the database joins the two",
                self._not_joined,
            )
            self._step(
                "隣町の司書にこの館の連携は見えない / staff there see nothing of this library", self._unseen
            )
            self._step(
                "この館の番号は隣町の貸出機では使えない / a token of one is nothing at the other",
                self._not_there,
            )
            self._chapter("5. 断る場合 / Refusals, each in its own words")
            self._step("使い終わった番号 / token used after its session", self._dead_token)
            self._step("暗証番号の誤り / wrong PIN, tries left are shown", self._wrong_pin)
            self._step("署名の再送 / a replayed response", self._replay)
            self._step("連携していないカード / a card that was never linked", self._stranger)
            self._step("利用者カードの期限切れ / expired library card", self._expired_library_card)
            self._step("失効した電子証明書 / revoked certificate, no PIN asked", self._revoked)
            self._step("失効した証明書の一括点検 / the sweep suspends the link of a revoked one", self._sweep)
            self._step("停止中の連携 / the machine asks no PIN, staff see why", self._suspended)
            self._step("これまでのプラスチックカード / a plastic card passes as ever", self._plastic)
            self._chapter("6. 連携の一生 / The life of a link")
            self._step("期限の近い電子証明書は使うたびに知らせる / told at each use", self._ends_soon)
            self._step("更新後は新しいカードに入れ替える / renewed, replaced in one step", self._replace)
            self._step("カード紛失: 利用者カードだけで今すぐ解除 / lost: ended at once", self._lose)
            self._step("再発行されたカードを連携し直す / the reissued card is linked anew", self._reissue)
            self._step("子ども: 確認項目が欠ければ断る / a child: every point is needed", self._child_refused)
            self._step("子ども: 法定代理人が連携、15歳まで / by a representative, until 15", self._child)
        return self._told

    # -- telling

    def _chapter(self, title: str) -> None:
        self._say(f"\n{title}")

    def _step(self, sentence: str, action: Callable[[], str]) -> None:
        begun = time.monotonic()
        try:
            seen, held = action(), True
        except Exception as error:  # noqa: BLE001  # whatever went wrong, the step did not hold
            seen, held = f"{type(error).__name__}: {error}", False
        self._told.append(Told(sentence, seen, held, time.monotonic() - begun))
        self._say(f"  {'✓' if held else '✗'} {sentence}\n      {seen}")

    # -- 1. the counter

    def _find(self) -> str:
        self._desk.log_in(LIBRARIAN.login_name, LIBRARIAN.password)
        patron = self._stack.patron(DemoPatron.FINE)
        page = self._desk.find_patron(patron.cardnumber)
        expect(patron.surname in page.text, "the patron's name is not on the page")
        return f"Koha: {patron.surname} {patron.firstname} ({patron.cardnumber})"

    def _link(self) -> str:
        card = self._stack.cards.resident
        headline = self._link_card(DemoPatron.FINE, card)
        expect(self._stack.table.pins_presented(card) == 1, "the PIN was not presented exactly once")
        return headline

    def _link_card(self, patron: DemoPatron, card: DemoCard, **choices: str) -> str:
        request_id = self._desk.start_link(patron.value, self._stack.counter.terminal_id, **choices)
        visit = self._visit(card, at_counter=True)
        expect(visit.exit_code == 0, f"the agent ended with {visit.exit_code}: {visit.last_words}")
        state = wait_for_end(self._desk, request_id)
        expect(state["tone"] == "success", f"the counter page says: {state['headline']}")
        return f"{state['headline']} {' '.join(_texts(state['details']))}"

    # -- 2. the self-check machine

    def _open_session(self) -> str:
        visit = self._visit(self._stack.cards.resident)
        expect(visit.exit_code == 0, f"the agent ended with {visit.exit_code}: {visit.last_words}")
        expect(visit.token.isdigit(), "the token is not all digits")
        self._token = visit.token
        return f"{visit.last_words} ({len(visit.token)} digits)"

    def _patron_information(self) -> str:
        kiosk = self._open_kiosk()
        answer = kiosk.patron_information(self._token)
        expect(answer.accepted, f"refused: {answer.screen_message}")
        expect(answer.first("AA") == self._token, "AA is not the token")
        return f"64 BL=Y, AF: {answer.screen_message}"

    def _borrow(self) -> str:
        kiosk = self._open_kiosk()
        books = (DemoItem.SECRETS_OF_THE_LIBRARY, DemoItem.STARS_IN_WINTER)
        titles = []
        for book in books:
            answer = kiosk.check_out(book.value)
            expect(answer.accepted, f"{book.value} refused: {answer.screen_message}")
            titles.append(answer.first("AJ"))
        loans = self._stack.loans_of(DemoPatron.FINE)
        expect({book.value for book in books} <= loans, "Koha does not show the loans")
        return f"12 ok: {'、'.join(titles)}; Koha: {len(loans)} on {DemoPatron.FINE.value}"

    def _return_one(self) -> str:
        answer = self._open_kiosk().check_in(DemoItem.STARS_IN_WINTER.value)
        expect(answer.accepted, f"refused: {answer.screen_message}")
        loans = self._stack.loans_of(DemoPatron.FINE)
        expect(loans == {DemoItem.SECRETS_OF_THE_LIBRARY.value}, f"Koha shows {len(loans)} loans")
        return f"10 ok; Koha: {len(loans)} on {DemoPatron.FINE.value}"

    def _never_seen(self) -> str:
        received = self._open_kiosk().received
        expect(len(received) > 0, "nothing was received at all")
        expect(DemoPatron.FINE.value not in received, "the card number reached the machine")
        return f"{len(received)} characters received, the card number is not among them"

    def _end_session(self) -> str:
        answer = self._open_kiosk().end_patron_session()
        expect(answer.accepted, "36 does not say Y")
        return f"36 Y, AF: {answer.screen_message}"

    def _open_kiosk(self) -> SelfCheckMachine:
        if self._kiosk is None:
            self._kiosk = self._resources.enter_context(self._stack.kiosk())
        return self._kiosk

    # -- 3. twelve books in place of six

    def _six_books(self) -> str:
        kiosk = self._open_kiosk()
        expect(kiosk.patron_information(DemoPatron.SECOND.value).accepted, "the plastic card is refused")
        for volume in VOLUMES[:-1]:
            answer = kiosk.check_out(volume.value)
            expect(answer.accepted, f"{volume.value} refused: {answer.screen_message}")
        refused = kiosk.check_out(VOLUMES[-1].value)
        expect(not refused.accepted, "a seventh book was lent")
        kiosk.end_patron_session()
        return (
            f"Koha: {len(VOLUMES) - 1} on {DemoPatron.SECOND.value}; 12 not ok, AF: {refused.screen_message}"
        )

    def _move(self) -> str:
        page = self._desk.find_patron(DemoPatron.SECOND.value)
        expect(LINKED_ADULT.category_id in page.text, "the page does not say which category the link gives")
        headline = self._link_card(DemoPatron.SECOND, self._stack.cards.second)
        self._expect_category(LINKED_ADULT)
        return headline

    def _seventh_book(self) -> str:
        visit = self._visit(self._stack.cards.second)
        expect(visit.exit_code == 0, f"the agent ended with {visit.exit_code}: {visit.last_words}")
        kiosk = self._open_kiosk()
        expect(kiosk.patron_information(visit.token).accepted, "the token is refused")
        answer = kiosk.check_out(VOLUMES[-1].value)
        expect(answer.accepted, f"refused: {answer.screen_message}")
        kiosk.end_patron_session()
        loans = self._stack.loans_of(DemoPatron.SECOND)
        expect(len(loans) == len(VOLUMES), f"Koha shows {len(loans)} loans")
        return f"12 ok: {answer.first('AJ')}; Koha: {len(loans)} on {DemoPatron.SECOND.value}"

    def _move_back(self) -> str:
        page = self._desk.unlink(DemoPatron.SECOND.value)
        told = f"{LINKED_ADULT.category_id} → {ADULT.category_id}" in page.text
        expect(told, "the page does not say that the patron was moved back")
        self._expect_category(ADULT)
        return f"Koha: {ADULT.category_id} ({ADULT.name})"

    def _expect_category(self, category: Category) -> None:
        found = self._stack.patron(DemoPatron.SECOND).category_id
        expect(found == category.category_id, f"Koha has the patron in {found}")

    # -- 4. two libraries

    def _link_there(self) -> str:
        self._desk_there.log_in(SECOND_LIBRARIAN.login_name, SECOND_LIBRARIAN.password)
        library, card = self._stack.second_library, self._stack.cards.resident
        request_id = self._desk_there.start_link(DemoPatron.FINE.value, library.counter.terminal_id)
        visit = self._visit_at(library.counter, card)
        expect(visit.exit_code == 0, f"the agent ended with {visit.exit_code}: {visit.last_words}")
        state = wait_for_end(self._desk_there, request_id)
        expect(state["tone"] == "success", f"the counter page says: {state['headline']}")
        return f"{library.library_id}: {state['headline']}"

    def _not_joined(self) -> str:
        rows = self._stack.open_links_of_patron(DemoPatron.FINE)
        libraries = {str(row["library_id"]) for row in rows}
        expect(len(rows) == len(libraries) == 2, f"{len(rows)} links in {len(libraries)} libraries")
        for column in ("link_id", "digest", "serial_ciphertext", "serial_nonce"):
            expect(len({row[column] for row in rows}) == len(rows), f"{column} is the same in both")
        return f"{', '.join(sorted(libraries))}: digest ≠ digest, ciphertext ≠ ciphertext"

    def _unseen(self) -> str:
        there = self._desk_there.links_on_the_list()
        here = self._desk.links_on_the_list()
        expect(len(there) == 1, f"{len(there)} links are listed there")
        expect(here and not set(here) & set(there), "a link is listed in both libraries")
        expect(not self._desk_there.may_open(here[0]), "a link of this library can be opened there")
        return f"{len(there)} there, {len(here)} here, none in common; by its address: not found"

    def _not_there(self) -> str:
        visit = self._visit(self._stack.cards.resident)
        expect(visit.token.isdigit(), f"no token: {visit.last_words}")
        with self._stack.second_kiosk() as machine:
            answer = machine.patron_information(visit.token)
        expect(answer.code == "64" and not answer.accepted, "the token was accepted at the other library")
        kiosk = self._open_kiosk()
        expect(kiosk.patron_information(visit.token).accepted, "the token is refused at its own machine")
        kiosk.end_patron_session()
        return f"64 BL=N, AF: {answer.screen_message}"

    # -- 5. refusals

    def _dead_token(self) -> str:
        answer = self._open_kiosk().patron_information(self._token)
        expect(answer.code == "64" and not answer.accepted, "a dead token was accepted")
        expect(answer.screen_message, "no words for the patron")
        return f"64 BL=N, AF: {answer.screen_message}"

    def _wrong_pin(self) -> str:
        card = self._stack.cards.resident
        before = self._stack.table.pins_presented(card)
        visit = self._visit(card, pin=WRONG_PIN)
        expect(visit.exit_code == 1 and not visit.token, "a wrong PIN opened a session")
        expect(self._stack.table.pins_presented(card) == before + 1, "the PIN was presented again")
        expect("2" in visit.last_words, "the tries left are not shown")
        self._visit(card)  # the right PIN restores the three tries
        return visit.last_words

    def _replay(self) -> str:
        """Play the attacker: take a good response and send it a second time."""
        card = self._stack.cards.resident.card
        with SimulatedConnection(card) as connection:
            session = JpkiSession(connection)
            certificate = base64.b64encode(session.read_certificate()).decode()
            begun = self._post("challenges", {"purpose": "borrow", "certificate": certificate})
            challenge = begun.json()
            session.verify_pin(Pin(PIN))
            signature = session.sign(base64.b64decode(challenge["message"]))
        response = {"certificate": certificate, "signature": base64.b64encode(signature).decode()}
        path = f"challenges/{challenge['challenge_id']}/response"
        first, second = self._post(path, response), self._post(path, response)
        expect(first.status_code == requests.codes.created, f"the response was answered {first.status_code}")
        return self._refusal(second, "challenge-already-used")

    def _stranger(self) -> str:
        return self._refused_before_the_pin(self._stack.cards.stranger)

    def _expired_library_card(self) -> str:
        card = self._stack.cards.second
        self._link_card(DemoPatron.SECOND, card)
        patron = self._stack.patron(DemoPatron.SECOND)
        yesterday = self._stack.koha.now().date() - timedelta(days=1)
        self._stack.koha.put_patron(replace(patron, expiry_date=yesterday))
        visit = self._visit(card)
        self._stack.koha.put_patron(patron)
        expect(visit.exit_code == 1 and not visit.token, "an expired library card opened a session")
        return visit.last_words

    def _revoked(self) -> str:
        card = self._stack.cards.second
        self._stack.revoke(card)
        return self._refused_before_the_pin(card)

    def _sweep(self) -> str:
        self._stack.revoke(self._stack.cards.resident)
        told = self._stack.run_command("revocation", "sweep").splitlines()
        suspended = [line for line in told if line.startswith("suspended: link ")]
        # The card is linked in two libraries.
        expect(len(suspended) == 2, f"the sweep suspended {len(suspended)} links")
        return f"{suspended[0]}; {told[-1]}"

    def _suspended(self) -> str:
        said = self._refused_before_the_pin(self._stack.cards.resident)
        reasons = self._desk.reasons_of_links()
        expect(any("失効" in reason for reason in reasons), "the list of links does not say why")
        return f"{said} / {reasons[0]}"

    def _plastic(self) -> str:
        kiosk = self._open_kiosk()
        answer = kiosk.patron_information(DemoPatron.CHILD.value)
        expect(answer.accepted, f"refused: {answer.screen_message}")
        expect(answer.first("AA") == DemoPatron.CHILD.value, "AA was changed")
        borrowed = kiosk.check_out(DemoItem.A_CAT_AND_A_BOOK.value)
        expect(borrowed.accepted, f"refused: {borrowed.screen_message}")
        kiosk.end_patron_session()
        return f"64 BL=Y, 12 ok: {borrowed.first('AJ')}"

    # -- 6. the life of a link

    def _ends_soon(self) -> str:
        self._link_card(DemoPatron.LIMIT_REACHED, self._stack.cards.ending)
        visit = self._visit(self._stack.cards.ending)
        expect(visit.exit_code == 0 and visit.token, "the card was refused")
        expect("電子証明書の有効期限は" in visit.last_words, "the patron is not told that the end is near")
        return visit.last_words

    def _replace(self) -> str:
        old = self._desk.link_of(DemoPatron.LIMIT_REACHED.value)
        said = self._link_card(DemoPatron.LIMIT_REACHED, self._stack.cards.renewed, replaces=old)
        refused = self._refused_before_the_pin(self._stack.cards.ending)
        expect(self._desk.link_of(DemoPatron.LIMIT_REACHED.value) != old, "the old link is still there")
        return f"{said} / {refused}"

    def _lose(self) -> str:
        kiosk = self._open_kiosk()
        token = self._visit(self._stack.cards.renewed).token
        expect(kiosk.patron_information(token).accepted, "the token was refused before the loss")
        page = self._desk.report_lost(DemoPatron.LIMIT_REACHED.value)
        answer = kiosk.patron_information(token)
        expect(not answer.accepted, "the session went on after the loss")
        expect("連携を解除しました" in page.text, "the page does not say that the link has ended")
        return f"64 BL=N, AF: {answer.screen_message}"

    def _reissue(self) -> str:
        said = self._refused_before_the_pin(self._stack.cards.renewed)
        self._link_card(DemoPatron.LIMIT_REACHED, self._stack.cards.reissued)
        visit = self._visit(self._stack.cards.reissued)
        expect(visit.exit_code == 0 and visit.token, "the reissued card was refused")
        return f"{said} / {visit.last_words}"

    def _child_refused(self) -> str:
        checks = [check.value for check in RepresentativeCheck][:-1]
        try:
            self._start_for_child(checks)
        except DeskError as error:
            return str(error)
        raise StepFailed("a link was started though a point was not checked")

    def _child(self) -> str:
        request_id = self._start_for_child([check.value for check in RepresentativeCheck])
        visit = self._visit(self._stack.cards.childs, at_counter=True)
        expect(visit.exit_code == 0, f"the agent ended with {visit.exit_code}: {visit.last_words}")
        expect("15歳の誕生日" in visit.last_words, "the patron is not told of the 15th birthday")
        state = wait_for_end(self._desk, request_id)
        expect(state["tone"] == "success", f"the counter page says: {state['headline']}")
        return visit.last_words

    def _start_for_child(self, checks: list[str]) -> str:
        birthday = self._stack.koha.now().date() + timedelta(days=60)
        return self._desk.start_link(
            DemoPatron.CHILD.value,
            self._stack.counter.terminal_id,
            represented="y",
            checks=checks,
            fifteenth_birthday=birthday.isoformat(),
        )

    def _refused_before_the_pin(self, card: DemoCard) -> str:
        before = self._stack.table.pins_presented(card)
        visit = self._visit(card)
        expect(visit.exit_code == 1 and not visit.token, "the card was not refused")
        expect(self._stack.table.pins_presented(card) == before, "the PIN was presented")
        return visit.last_words

    # -- tools

    def _visit(self, card: DemoCard, *, at_counter: bool = False, pin: str = PIN) -> Visit:
        return self._visit_at(self._stack.counter if at_counter else self._stack.self_check, card, pin=pin)

    def _visit_at(self, place: Place, card: DemoCard, *, pin: str = PIN) -> Visit:
        return self._stack.table.visit(
            card, bridge_url=self._stack.bridge_url, token_file=place.token_file, pin=pin
        )

    def _post(self, path: str, body: dict[str, str]) -> requests.Response:
        return requests.post(
            f"{self._stack.bridge_url}/api/v1/{path}",
            json=body,
            headers={
                "Authorization": f"Bearer {self._stack.self_check.token_file.read_text().strip()}",
                "Accept-Language": "ja",
            },
            timeout=HTTP_SECONDS,
        )

    def _refusal(self, response: requests.Response, slug: str) -> str:
        problem = response.json()
        expect(not response.ok, "the request was accepted")
        expect(problem["type"].endswith(f":{slug}"), f"refused as {problem['type']}")
        return f"{response.status_code} {problem['title']}"


def _texts(value: object) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else [str(value)]
