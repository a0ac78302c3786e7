"""The counter: from the library card to the link."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import date, timedelta

import pytest

from bridge.admin.days import Calendar, japanese_day
from bridge.admin.progress import present
from bridge.admin.words import PROBLEMS, REPRESENTATIVE_CHECKS
from bridge.errors import AlreadyLinked, BridgeError, Denied, KohaNotReachable, NotLinked
from bridge.links.consent import STANDARD_VERSION, standard_wording
from bridge.models import (
    Actor,
    ActorKind,
    AgentStep,
    LinkRequestState,
    LinkState,
    RepresentativeCheck,
    SuspensionReason,
)
from bridge.rules import LinkPolicy
from jpki.errors import JpkiError
from jpki.revocation import RevocationStatus, UnknownReason
from jpki.simulator.pki import CardProfile

GOOD = "2000100000017"
EXPIRED = "2000100000025"
RESTRICTED = "2000100000033"
LOST = "2000100000041"


def find(desk, cardnumber, *, follow=False):
    return desk.post("/admin/counter/", "/admin/counter/", {"cardnumber": cardnumber}, follow=follow)


def start(desk, cardnumber=GOOD, terminal_id="counter-1", *, follow=False):
    form = {
        "cardnumber": cardnumber,
        "terminal_id": terminal_id,
        "consent_version": STANDARD_VERSION,
        "consented": "y",
    }
    return desk.post("/admin/counter/start", "/admin/counter/", form, follow=follow)


def state(desk, watch):
    return desk.get(f"{watch}/state").get_json()


def statuses(progress):
    return [step["status"] for step in progress["steps"]]


def test_the_library_card_shows_its_patron(desk):
    page = find(desk, GOOD).text
    assert "図書 友子" in page
    assert "2027年3月31日" in page
    assert "未連携" in page


def test_full_width_digits_are_understood(desk):
    assert "図書 友子" in find(desk, " ２０００１００００００１７ ").text


@pytest.mark.parametrize("cardnumber", ["", "2000 1000", "あ", "9" * 33])
def test_what_is_no_card_number_is_not_asked_in_koha(desk, cardnumber):
    page = find(desk, cardnumber)
    assert page.status_code == 200
    assert "field-error" in page.text


def test_an_unknown_library_card_is_told_and_the_desk_is_ready_again(desk):
    page = find(desk, "2000100009999", follow=True).text
    assert "この番号の利用者カードは、Kohaに登録されていません。" in page
    assert 'name="cardnumber"' in page


def test_a_card_number_is_in_no_address_cookie_or_log(desk, caplog):
    caplog.set_level(logging.DEBUG)
    answers = [find(desk, GOOD), start(desk), find(desk, "2000100009999")]
    assert GOOD not in caplog.text
    for answer in answers:
        assert "20001" not in answer.headers.get("Location", "")
        assert all("20001" not in cookie for cookie in answer.headers.getlist("Set-Cookie"))
    watched = desk.get(answers[1].location).text
    assert "友子" not in watched
    assert GOOD not in watched


@pytest.mark.parametrize(
    ("cardnumber", "words"),
    [(EXPIRED, "利用者カードの有効期限が切れています。"), (LOST, "利用者カードの紛失届が出ています。")],
)
def test_a_library_card_out_of_order_cannot_be_linked(desk, cardnumber, words):
    page = find(desk, cardnumber).text
    assert words in page
    assert "同意を確認して連携する" not in page
    assert words in start(desk, cardnumber, follow=True).text


def test_a_restricted_patron_is_named_as_such_and_can_be_linked(desk):
    page = find(desk, RESTRICTED).text
    assert "Kohaで利用が制限されている利用者です。" in page
    assert "同意を確認して連携する" in page


def test_koha_not_answering_is_told(world, desk, monkeypatch):
    def no_answer(librarian, cardnumber):
        raise KohaNotReachable

    monkeypatch.setattr(world.services.registration, "find_patron", no_answer)
    assert "Kohaから応答がありません。" in find(desk, GOOD, follow=True).text


def test_what_nobody_foresaw_is_told_without_its_text(world, desk, monkeypatch, caplog):
    def break_down(librarian, cardnumber):
        raise TypeError(f"the card number is {cardnumber}")

    monkeypatch.setattr(world.services.registration, "find_patron", break_down)
    answer = find(desk, GOOD)
    assert answer.status_code == 500
    assert "システムに問題が起きました。" in answer.text
    assert "unexpected TypeError" in caplog.text
    assert GOOD not in caplog.text + answer.text


def test_only_counters_of_this_library_are_offered(desk):
    page = desk.get("/admin/counter/terminal").text
    assert "1階総合カウンター" in page
    assert "児童カウンター" in page
    assert "自動貸出機" not in page
    assert "きたカウンター" not in page


def test_which_counter_this_is_is_asked_once_and_shown(browser_of):
    desk = browser_of("hanako")
    assert "このパソコンはどの窓口にありますか" in desk.get("/admin/counter/").text
    answer = desk.choose_counter("counter-2")
    cookie = next(c for c in answer.headers.getlist("Set-Cookie") if c.startswith("counter_terminal="))
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/admin/counter/" in cookie
    for page in (desk.get("/admin/counter/").text, find(desk, GOOD).text):
        assert "児童カウンター" in page
        assert "窓口を選び直す" in page
    assert 'name="terminal_id" value="counter-2"' in find(desk, GOOD).text


@pytest.mark.parametrize("terminal_id", ["", "jidou-1", "no-such"])
def test_a_counter_that_is_not_offered_is_not_remembered(browser_of, terminal_id):
    answer = browser_of("hanako").choose_counter(terminal_id)
    assert "field-error" in answer.text
    assert "counter_terminal" not in str(answer.headers)


def test_before_a_counter_is_chosen_a_card_can_be_lost_but_not_linked(browser_of, world):
    world.link()
    desk = browser_of("hanako")
    page = find(desk, GOOD).text
    assert "このパソコンのある窓口を選んでください" in page
    assert "同意を確認して" not in page
    assert "カードの紛失" in page
    asked = desk.post("/admin/counter/identify", "/admin/counter/", follow=True)
    assert "このパソコンはどの窓口にありますか" in asked.text


def test_another_library_s_counter_in_the_cookie_is_no_choice(world, browser_of):
    desk = browser_of("kita")
    desk.client.set_cookie("counter_terminal", "counter-2", path="/admin/counter/")
    assert 'name="terminal_id" value="counter-1"' in find(desk, GOOD).text


def test_the_only_counter_terminal_is_chosen_already(browser_of):
    page = find(browser_of("kita"), GOOD).text
    assert 'name="terminal_id" value="counter-1"' in page
    assert "窓口を選び直す" not in page


def test_a_library_without_a_counter_terminal_is_told_so(world, browser_of):
    operator = Actor(ActorKind.COMMAND, "tests")
    world.services.staff.remove_terminal(operator, library_id="kita", terminal_id="counter-1")
    page = find(browser_of("kita"), GOOD).text
    assert "窓口端末がまだ登録されていません。" in page


@pytest.mark.parametrize("terminal_id", ["", "jidou-1", "no-such", "sc-chuo-1"])
def test_a_terminal_that_is_not_offered_cannot_be_chosen(desk, terminal_id):
    page = start(desk, terminal_id=terminal_id)
    assert page.status_code == 200
    assert "field-error" in page.text


@pytest.mark.parametrize("cardnumber", ["", "2000 1000", "9" * 33])
def test_a_start_without_a_proper_card_number_is_no_order(desk, cardnumber):
    assert start(desk, cardnumber).status_code == 400


def test_a_counter_waits_for_one_card_at_a_time(desk):
    start(desk)
    page = start(desk, RESTRICTED, follow=True).text
    assert "この端末では、別の連携手続きが進んでいます。" in page
    assert "手続き中の端末" in page


def test_the_steps_follow_the_patron(world, desk):
    watch = start(desk).location
    assert statuses(state(desk, watch)) == ["current", "to_do", "to_do", "to_do"]
    reader = world.reader(world.card())
    reader.lay_card()
    progress = state(desk, watch)
    assert statuses(progress) == ["done", "done", "current", "to_do"]
    assert progress["details"] == ["残り3回試せます。"]
    reader.enter_pin("0000")
    progress = state(desk, watch)
    assert progress["tone"] == "warning"
    assert progress["details"] == ["暗証番号が違います。利用者はもう一度入力できます。", "残り2回試せます。"]
    reader.enter_pin("1234")
    progress = state(desk, watch)
    assert statuses(progress) == ["done"] * 4
    assert progress["headline"] == "連携が完了しました。"
    assert progress["details"] == ["2027年11月20日まで使えます。"]
    assert not progress["is_open"]
    assert "連携済み" in find(desk, GOOD).text


def test_a_blocked_pin_ends_the_request_with_the_way_out(world, desk):
    watch = start(desk).location
    reader = world.reader(world.card())
    reader.lay_card()
    reader.tell(AgentStep.PIN_BLOCKED, 0)
    progress = state(desk, watch)
    assert statuses(progress) == ["done", "done", "failed", "to_do"]
    assert progress["details"][0].startswith("暗証番号がロックされています。")


def test_a_card_taken_away_is_asked_for_again(world, desk):
    watch = start(desk).location
    reader = world.reader(world.card())
    reader.lay_card()
    reader.tell(AgentStep.CARD_REMOVED)
    progress = state(desk, watch)
    assert statuses(progress)[0] == "current"
    assert progress["details"] == ["カードが読取部から離れました。もう一度置いてください。"]


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (CardProfile.EXPIRED, "有効期限が切れています"),
        (CardProfile.NOT_YET_VALID, "まだ有効期間に入っていません"),
        (CardProfile.FOREIGN_CA, "発行元を確認できませんでした"),
        (CardProfile.WRONG_POLICY, "利用者証明用の電子証明書ではありません"),
    ],
)
def test_a_card_that_is_not_good_is_refused_before_the_pin(world, desk, profile, words):
    watch = start(desk).location
    with pytest.raises(JpkiError):
        world.reader(world.card(profile)).lay_card()
    progress = state(desk, watch)
    assert statuses(progress) == ["done", "failed", "to_do", "to_do"]
    assert words in progress["details"][0]


def test_an_unknown_revocation_is_not_called_a_revoked_card(world, desk):
    world.revocations.status, world.revocations.why = RevocationStatus.UNKNOWN, UnknownReason.UNREACHABLE
    watch = start(desk).location
    with pytest.raises(Denied):
        world.reader(world.card()).lay_card()
    refusal, why = state(desk, watch)["details"]
    assert "確認できなかったため" in refusal
    assert why == "失効情報の照会先から応答がありませんでした。"
    assert why in desk.get("/admin/audit/").text


def test_a_card_that_is_linked_already_is_refused(world, desk):
    card = world.card()
    for cardnumber in (GOOD, RESTRICTED):
        watch = start(desk, cardnumber).location
        reader = world.reader(card)
        if cardnumber == GOOD:
            reader.lay_card()
            reader.enter_pin("1234")
            reader.connection.close()
    with pytest.raises(AlreadyLinked):
        reader.lay_card()
    (told,) = state(desk, watch)["details"]
    assert told.startswith(
        "このカードはすでに連携されています。1枚のカードは1人の利用者にしか連携できません。"
    )
    assert told.endswith("だれに連携されているかは表示しません。")


def test_a_request_can_be_cancelled(desk):
    watch = start(desk).location
    page = desk.post(f"{watch}/cancel", watch, follow=True).text
    assert "連携を中止しました。" in page
    assert statuses(state(desk, watch)) == ["to_do"] * 4
    assert "すでに終わった可能性があります" in desk.post(f"{watch}/cancel", watch, follow=True).text


def test_a_request_runs_out_after_five_minutes(world, desk):
    watch = start(desk).location
    world.clock.now += timedelta(minutes=6)
    assert state(desk, watch)["headline"] == "時間切れになりました。カードの情報は残っていません。"


def test_a_page_that_tells_what_it_shows_is_answered_when_there_is_something_new(world, desk):
    watch = start(desk).location
    seen = state(desk, watch)["tag"]
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(desk.get(f"{watch}/state?seen={seen}").get_json())
    )
    asking.start()
    world.reader(world.card()).lay_card()
    asking.join(90)
    [answer] = answers
    assert answer["at_the_card"]
    assert answer["tag"] != seen


def test_a_page_that_shows_something_old_or_made_up_is_answered_at_once(world, desk):
    watch = start(desk).location
    for seen in ("", "0" * 16, "x" * 5000):
        answer = desk.get(f"{watch}/state?seen={seen}").get_json()
        assert answer["has_waited"] is False
        assert answer["is_open"]


def test_where_too_many_desks_wait_the_answer_comes_at_once(world, desk, monkeypatch):
    watch = start(desk).location
    monkeypatch.setattr(world.services.registration, "wait", lambda has_changed: False)
    now = state(desk, watch)
    assert desk.get(f"{watch}/state?seen={now['tag']}").get_json() == now


def test_the_request_of_another_library_is_not_there(desk, browser_of):
    watch = start(browser_of("kita")).location
    for address in (watch, f"{watch}/state"):
        assert desk.get(address).location == "/admin/counter/"
    desk.post(f"{watch}/cancel", "/admin/counter/")
    assert state(browser_of("kita"), watch)["is_open"]


def test_a_problem_without_words_is_the_systems(world, desk):
    with world.app.test_request_context():
        request = world.services.registration.start(
            world.hanako, terminal_id="counter-1", cardnumber=GOOD, consent_version=STANDARD_VERSION
        )
        broken = replace(request, state=LinkRequestState.REFUSED, problem="never-heard-of")
        assert present(broken, None).details == (str(PROBLEMS[BridgeError.slug]),)


# The life of a link at the desk


def test_the_consent_is_shown_and_asked_for_before_a_card_is_linked(desk, world):
    page = find(desk, GOOD).text
    assert "連携は任意です。利用者カードはこれまでどおり使えます。" in page
    refused = desk.post(
        "/admin/counter/start",
        "/admin/counter/",
        {"cardnumber": GOOD, "terminal_id": "counter-1", "consent_version": STANDARD_VERSION},
    )
    assert "同意がなければ、カードは連携できません。" in refused.text


def test_a_consent_to_an_older_wording_does_not_count(desk):
    form = {"cardnumber": GOOD, "terminal_id": "counter-1", "consent_version": "2020-01-01", "consented": "y"}
    page = desk.post("/admin/counter/start", "/admin/counter/", form, follow=True).text
    assert "同意の文面が変わりました" in page


def test_a_renewed_card_is_linked_in_place_of_the_old_one(desk, world):
    old = world.link()
    page = find(desk, GOOD).text
    assert f'value="{old.link_id}"' in page
    form = {
        "cardnumber": GOOD,
        "terminal_id": "counter-1",
        "consent_version": STANDARD_VERSION,
        "consented": "y",
        "replaces": old.link_id,
    }
    desk.post("/admin/counter/start", "/admin/counter/", form)
    reader = world.reader(world.card())
    reader.lay_card()
    assert reader.enter_pin("1234").replaces == old.link_id


def test_a_lost_card_is_ended_from_the_patron_s_page(desk, world):
    link = world.link()
    form = {"cardnumber": GOOD}
    asked = desk.post("/admin/counter/lost", "/admin/counter/", form)
    assert "解除してよいことを確認してください。" in asked.text
    assert world.services.registration.link(world.hanako, link.link_id).ended_at is None
    page = desk.post("/admin/counter/lost", "/admin/counter/", {**form, "confirmed": "y"}, follow=True)
    assert "1件の連携を解除しました。" in page.text
    ended = world.services.registration.link(world.hanako, link.link_id)
    assert ended.ended_reason == "card_lost"


def test_a_child_s_card_is_linked_with_every_point_and_the_15th_birthday(desk, world):
    form = {
        "cardnumber": GOOD,
        "terminal_id": "counter-1",
        "consent_version": STANDARD_VERSION,
        "consented": "y",
        "represented": "y",
        "checks": [check.value for check in RepresentativeCheck],
        "fifteenth_birthday": "2027-01-31",
    }
    without_a_day = {**form, "fifteenth_birthday": ""}
    refused = desk.post("/admin/counter/start", "/admin/counter/", without_a_day).text
    assert "確認項目のすべてと、お子さんの15歳の誕生日が必要です。" in refused
    watch = desk.post("/admin/counter/start", "/admin/counter/", form).location
    reader = world.reader(world.card())
    reader.lay_card()
    assert reader.enter_pin("1234").representation.until == date(2027, 1, 31)
    assert state(desk, watch)["details"] == ["2027年1月31日まで使えます。"]


# Whose card is this?


def ask_whose(desk):
    return desk.post("/admin/counter/identify", "/admin/counter/").location


def test_a_card_tells_whose_it_is(world, desk):
    card = world.linked_card()
    watch = ask_whose(desk)
    assert state(desk, watch)["headline"] == "マイナンバーカードを読取部に置いてください。"
    reader = world.identifying_reader(card)
    reader.lay_card()
    assert state(desk, watch)["at_the_card"]
    reader.enter_pin("1234")
    progress = state(desk, watch)
    assert progress["headline"] == "利用者を確認しました。"
    assert progress["steps"][-1] == {"name": "利用者の確認", "status": "done", "status_words": "済み"}
    assert GOOD not in str(progress)
    assert "友子" not in str(progress)
    page = desk.get(watch).text
    assert f'<dd id="number">{GOOD}</dd>' in page
    assert "図書 友子" in page
    assert "Kohaで開く" not in page


def test_the_patron_is_opened_in_koha_where_its_address_is_known(world, desk):
    world.services.koha_staff_urls["chuo"] = "https://staff.koha.test/"
    card = world.linked_card()
    watch = ask_whose(desk)
    reader = world.identifying_reader(card)
    reader.lay_card()
    reader.enter_pin("1234")
    address = "https://staff.koha.test/cgi-bin/koha/circ/circulation.pl?borrowernumber=17"
    assert f'href="{address}" target="_blank" rel="noopener noreferrer"' in desk.get(watch).text


def test_whose_card_it_was_is_told_to_nobody_else_and_not_for_long(world, desk, browser_of):
    card = world.linked_card()
    watch = ask_whose(desk)
    reader = world.identifying_reader(card)
    reader.lay_card()
    reader.enter_pin("1234")
    for page in (
        browser_of("kanri").get(watch).text,
        browser_of("kita").get(watch, follow_redirects=True).text,
    ):
        assert GOOD not in page
        assert "友子" not in page
    world.clock.now += timedelta(minutes=6)
    page = desk.get(watch).text
    assert GOOD not in page
    assert "すでに終わった可能性があります" in page


def test_an_expired_library_card_is_told_with_the_answer(world, desk):
    card = world.linked_card()
    patrons = world.services.registration._environment.library("chuo").patrons
    patrons.records[GOOD] = replace(patrons.records[GOOD], expiry_date=date(2026, 1, 31), restricted=True)
    watch = ask_whose(desk)
    reader = world.identifying_reader(card)
    reader.lay_card()
    reader.enter_pin("1234")
    page = desk.get(watch).text
    assert "利用者カードの有効期限が切れています。" in page
    assert "Kohaで利用が制限されている利用者です。" in page


def test_a_card_that_is_not_linked_is_nobody_s(world, desk):
    watch = ask_whose(desk)
    with pytest.raises(NotLinked):
        world.identifying_reader(world.card()).lay_card()
    progress = state(desk, watch)
    assert progress["headline"] == "だれのカードか確認できませんでした。"
    assert progress["details"] == ["このカードは連携されていません。"]


# A link that rests


def test_a_suspended_link_is_restored_at_the_desk(world, desk):
    link = world.link()
    world.services.registration.suspend(world.hanako, link.link_id, reason=SuspensionReason.CARD_MISLAID)
    page = find(desk, GOOD).text
    assert "停止中です（カードが今見つからない）" in page
    order = {"cardnumber": GOOD, "link_id": link.link_id}
    page = desk.post("/admin/counter/restore", "/admin/counter/", order).text
    assert "連携をまた使えるようにしました。" in page
    assert "図書 友子" in page
    assert world.services.registration.link(world.hanako, link.link_id).state is LinkState.ACTIVE


def test_what_staff_cannot_restore_is_not_offered_and_refused(world, desk):
    link = world.link()
    with world.store.transaction() as transaction:
        transaction.suspend_links("chuo", [link.link_id], SuspensionReason.ACCOUNT_GONE, world.clock())
    assert 'name="link_id"' not in find(desk, GOOD).text
    order = {"cardnumber": GOOD, "link_id": link.link_id}
    desk.post("/admin/counter/restore", "/admin/counter/", order)
    assert world.services.registration.link(world.hanako, link.link_id).state is LinkState.SUSPENDED


# The application form


@pytest.mark.parametrize(
    ("calendar", "words"),
    [
        (Calendar.BOTH, "令和8年11月20日（2026年）"),
        (Calendar.ERA, "令和8年11月20日"),
        (Calendar.WESTERN, "2026年11月20日"),
    ],
)
def test_a_day_stands_on_paper_as_the_library_writes_it(calendar, words):
    assert japanese_day(date(2026, 11, 20), calendar) == words


def test_the_first_year_of_an_era_has_a_name():
    assert japanese_day(date(2019, 12, 31), Calendar.ERA) == "令和元年12月31日"


@pytest.mark.parametrize("variant", ["", "/child"])
def test_the_application_form_says_all_that_is_agreed_to(desk, variant):
    page = desk.get(f"/admin/counter/form{variant}").text
    assert "令和8年11月20日（2026年）" in page
    assert "みどり市立中央図書館 あて" in page
    assert "利用者証明用電子証明書の発行番号を図書館に提供していただくことで行います" in page
    assert "12桁の個人番号と、カードにある氏名・住所・生年月日・性別・顔写真は、読み取らず" in page
    assert "365日後に消去します" in page
    assert f"同意文面 {STANDARD_VERSION}版" in page
    with desk.client.application.test_request_context(headers={"Accept-Language": "ja"}):
        for point in standard_wording().points("ja"):
            assert point.heading in page
            assert point.wording in page
        checks = [str(words) in page for words in REPRESENTATIVE_CHECKS.values()]
    assert checks == [bool(variant)] * 6


def test_the_form_says_for_how_long_this_library_keeps_its_records(world, desk):
    library = world.services.registration._environment.libraries["chuo"]
    changed = replace(library, links=LinkPolicy(retention=timedelta(days=90)))
    world.services.registration._environment.libraries["chuo"] = changed
    assert "90日後に消去します" in desk.get("/admin/counter/form").text
