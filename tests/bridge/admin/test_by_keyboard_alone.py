"""Every job of administrator, librarian and auditor from log-in to log-out in Chromium, by keyboard alone.

Each walk names the controls as a screen reader would: where Tab comes round without having met one, or where
the focus cannot be seen on the way, it fails. What the keys reach is the same in every language.
"""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from playwright.sync_api import expect
from pyotp import TOTP

from bridge.models import LibrarianRole, LinkState

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery staple"
FRIEND, OVERDUE = "2000100000017", "2000100000033"
LIBRARY = "みどり市立中央図書館"
SKIP = "本文へ移動"
END_THEM = "はい、これらの連携を解除します。対象の利用者はマイナンバーカードで借りられなくなります。"
RE_LINK = "同意を確認して連携し直す 2026年11月20日に連携したカードと入れ替える（更新・再発行）"
CHECKLIST = (
    "お子さんの利用者カードがある。",
    "お子さんのマイナンバーカードがあり、代理人が暗証番号を知っている。",
    "代理人が本人確認書類を示した。",
    "書類で、お子さんと同居していることがわかる。",
    "書類に、氏名と住所がある。",
    "書類は、公的機関が発行したものである。",
)

SEE = """
() => {
  const element = document.activeElement;
  const radios = element.type === "radio" ? [...document.getElementsByName(element.name)] : [];
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  const isSeen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.bottom > 0
    && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return {
    name: element.computedName.trim(),
    group: radios.map((radio) => radio.computedName),
    around: element.closest("tr, form, section, body").innerText,
    place: [...document.querySelectorAll("*")].indexOf(element),
    isControl: element.tabIndex >= 0,
    isSeen,
  };
}
"""
"""The control that has the focus: its name, those of its group, the words around it, whether it is seen."""


class Keyboard:
    """Hands that know Tab, Enter, Space, arrows and letters, and eyes that read the names of controls."""

    def __init__(self, page):
        self.page = page

    def to(self, name, *, beside=""):
        """Walk by Tab to the control of a name, in the row or form where *beside* can be read."""
        self._walk(lambda stop: stop["name"] == name and beside in stop["around"], name)

    def to_menu(self, name):
        """Walk by Tab to a link or button above the main part, and press it."""
        self._walk(lambda stop: stop["name"] == name, name, skips=False)
        self.enter()

    def follow(self, name, *, beside=""):
        """Walk to a link or button and press it; a new page comes."""
        self.to(name, beside=beside)
        self.enter()

    def fill(self, name, text):
        """Walk to a field and put a text in place of what stands in it."""
        self.to(name)
        self.press("Control+a")
        self.page.keyboard.type(text)

    def choose(self, name):
        """Walk to a group of choices, and in it to one by the arrow keys."""
        self._walk(lambda stop: name in stop["group"], name)
        while self._see()["name"] != name:
            self.press("ArrowDown")
        if not self.page.evaluate("document.activeElement.checked"):
            self.press("Space")

    def tick(self, name):
        self.to(name)
        self.press("Space")

    def enter(self, key="Enter"):
        """Press what has the focus, and wait for the page that comes."""
        self.page.evaluate("document.documentElement.id = 'left'")
        self.press(key)
        expect(self.page.locator("#left")).to_have_count(0)
        self.page.wait_for_load_state()

    def saves(self, name):
        """Walk to the link to a file and fetch it."""
        self.to(name)
        with self.page.expect_download() as saving:
            self.press("Enter")
        assert saving.value.suggested_filename.endswith(".csv")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def reads(self, words):
        expect(self.page.locator("main")).to_contain_text(words)

    def _walk(self, is_there, name, *, skips=True):
        stop = self._see()
        met = []
        while not is_there(stop):
            if skips and stop["name"] == SKIP:
                self.press("Enter")
            elif stop["isControl"]:
                assert stop["isSeen"], f"no focus to be seen: {stop}"
                if stop["place"] not in met[-1:]:  # a day's field has several stops
                    assert stop["place"] not in met, f"Tab came round without {name}: {stop}"
                    met.append(stop["place"])
            self.press("Tab")
            stop = self._see()
        assert stop["isSeen"], f"no focus to be seen: {stop}"

    def _see(self):
        return self.page.evaluate(SEE)


@pytest.fixture
def language():
    return "ja"


@pytest.fixture
def keys(page):
    return Keyboard(page)


@pytest.fixture
def log_in(page, staff):
    """Log somebody in, by keyboard as every walk is."""

    def come(login_name):
        staff.log_in(login_name)
        page.wait_for_url(lambda url: "login" not in url)
        page.wait_for_load_state()

    return come


def test_an_administrator_makes_changes_and_closes_an_account(world, keys, log_in):
    log_in("kanri")
    keys.to_menu("図書館")
    keys.follow(LIBRARY)
    keys.follow("職員アカウントを追加する")
    keys.fill("ログイン名", "jiro")
    keys.enter()
    keys.reads("役割を選んでください。")
    expect(keys.page.locator("#role-0")).to_be_focused()  # the first that is wrong
    keys.press("ArrowDown", "ArrowUp")
    keys.fill("画面に表示する名前", "司書 次郎")
    keys.enter()
    keys.reads("司書 次郎のログイン情報")
    keys.follow("戻る")
    keys.follow("変更する", beside="司書 次郎")
    keys.choose("監査担当")
    keys.enter()
    keys.reads("役割を「司書」から「監査担当」に変更しました。")
    keys.follow("変更する", beside="司書 次郎")
    keys.follow("パスワードを再設定する")
    keys.follow("戻る")
    keys.follow("変更する", beside="司書 次郎")
    keys.follow("アカウントを停止する")
    keys.reads("アカウントを停止し、ログイン中の画面もログアウトしました。")
    jiro = world.services.staff.find_librarian("chuo", "jiro")
    assert (jiro.role, jiro.active) == (LibrarianRole.AUDITOR, False)
    keys.to_menu("ログアウト")
    expect(keys.page.locator("#login_name")).to_be_focused()


def test_an_administrator_issues_and_revokes_the_token_of_a_terminal(world, keys, log_in):
    log_in("kanri")
    keys.to_menu("図書館")
    keys.follow(LIBRARY)
    keys.follow("端末を追加する")
    keys.fill("端末ID", "counter-9")
    keys.fill("名称", "分館カウンター")
    keys.choose("窓口")
    keys.follow("追加する")
    keys.reads("読み取りプログラムのトークン")
    keys.follow("戻る")
    keys.follow("登録", beside="分館カウンター")
    keys.follow("コードを発行する")
    keys.reads("登録コード")
    keys.follow("戻る")
    keys.follow("削除する", beside="分館カウンター")
    keys.tick("はい、この端末を削除します。ここのカード読み取り機はすぐに使えなくなります。")
    keys.follow("削除する")
    keys.reads("端末を削除しました。トークンは無効になりました。")
    assert "counter-9" not in {each.terminal_id for each in world.services.staff.terminals("chuo")}


def test_an_administrator_compares_and_changes_the_wording_of_the_consent(world, keys, log_in):
    log_in("kanri")
    keys.to_menu("図書館")
    keys.follow(LIBRARY)
    keys.follow("文面を見る・変更する")
    keys.fill("日本語の文面", "同意の内容\n図書館の言葉です。")
    keys.fill("英語の文面", "Consent\nThe library's own words.")
    keys.follow("変更前と変更後を比べる")
    keys.reads("変更後")
    keys.follow("新しい文面に切り替える")
    keys.reads("切り替えました。")
    (point,) = world.services.consent.in_force("chuo").wording.points("ja")
    assert (point.heading, point.wording) == ("同意の内容", "図書館の言葉です。")


def test_a_librarian_ends_one_link_with_a_reason(world, keys, log_in):
    link = world.link()
    world.link(cardnumber=OVERDUE)
    log_in("hanako")
    keys.to_menu("連携")
    keys.follow("連携を解除", beside="17")
    keys.choose("マイナンバーカードの紛失・盗難")
    keys.enter()
    keys.reads("解除してよければ、確認欄にチェックを入れてください。")
    keys.press("Space")  # what was wrong has the focus
    keys.enter()
    keys.reads("連携を解除しました。")
    assert world.services.registration.link(world.hanako, link.link_id).state is LinkState.ENDED


def test_several_links_are_ended_by_two_people(world, keys, log_in, links_of):
    links_of(1001, 1008)
    log_in("hanako")
    keys.to_menu("連携")
    for row in range(1, 4):
        keys.tick(f"{row}行目の連携を選ぶ")
    keys.follow("選んだ連携を解除する…")
    keys.choose("不正利用の疑い")
    keys.tick(END_THEM)
    keys.follow("一括解除を申請する")
    keys.reads("申請しました。ほかの職員の承認が必要です。")
    keys.to_menu("ログアウト")
    log_in("kanri")
    keys.to_menu("一括解除 承認を待っている一括解除の申請が1件あります")
    keys.follow("内容を見る")
    keys.choose("対象の連携を確認し、解除してよい")
    keys.tick(END_THEM)
    keys.follow("承認して連携を解除する")
    keys.reads("申請を承認しました。")
    keys.follow("連携の一覧ですべて見る")
    keys.reads("解除済み")


def test_a_librarian_searches_filters_leafs_and_saves_a_list(keys, log_in, links_of):
    links_of(1001, 1064)
    log_in("hanako")
    keys.to_menu("連携")
    keys.follow("次のページ")
    keys.reads("2ページ目")
    keys.follow("前のページ")
    keys.fill("Kohaの利用者番号", "1007")
    keys.enter()
    expect(keys.page.locator("tbody tr")).to_have_count(1)
    keys.follow("すべて表示")
    keys.to("状態")
    keys.press("ArrowDown")
    keys.follow("検索")
    keys.follow("連携日時")
    keys.saves("CSVで保存")


@pytest.fixture
def at_the_desk(keys, log_in, staff):
    """The keyboard of a librarian who has told which counter this is."""
    log_in("hanako")
    keys.to("1階総合カウンター")
    keys.press("Enter")
    staff.await_the_next()
    return keys


def lay_card(world, keys):
    """Do the patron's part, and go on to the next patron."""
    keys.reads("マイナンバーカードを読取部に置いてください。")
    reader = world.reader(world.card())
    reader.lay_card()
    link = reader.enter_pin("1234")
    keys.reads("連携が完了しました。")
    expect(keys.page.locator("#next")).to_be_focused()
    keys.press("Enter")
    return link


def test_a_lost_card_is_told_at_the_desk(world, at_the_desk, staff):
    link = world.link()
    staff.scan(FRIEND)
    at_the_desk.to("カードの紛失")
    at_the_desk.press("Enter")
    at_the_desk.to("すべての連携を解除する")
    at_the_desk.press("Enter")
    at_the_desk.reads("1件の連携を解除しました。")
    staff.await_the_next()
    assert world.services.registration.link(world.hanako, link.link_id).state is LinkState.ENDED


def test_a_renewed_card_is_re_linked_at_the_desk(world, at_the_desk, staff):
    old = world.link()
    staff.scan(FRIEND)
    at_the_desk.to(RE_LINK)
    at_the_desk.press("Enter")
    assert lay_card(world, at_the_desk).replaces == old.link_id
    staff.await_the_next()


def test_a_child_s_card_is_linked_with_the_checklist_at_the_desk(world, at_the_desk, staff):
    staff.scan(FRIEND)
    at_the_desk.to("15歳未満")
    at_the_desk.press("Space")
    for words in CHECKLIST:
        at_the_desk.tick(words)
    at_the_desk.press("Enter")
    at_the_desk.reads("確認項目のすべてと、お子さんの15歳の誕生日が必要です。")
    at_the_desk.to("お子さんの15歳の誕生日")
    at_the_desk.press(*"01312027")  # in the order of the system's language, not the page's
    at_the_desk.to("代理人の同意を確認して連携する")
    at_the_desk.press("Enter")
    assert lay_card(world, at_the_desk).representation.until == date(2027, 1, 31)
    staff.await_the_next()


@pytest.mark.parametrize("words", ["申込書", "申込書（15歳未満）"])
def test_an_application_form_is_printed_from_the_desk(at_the_desk, words):
    at_the_desk.to(words)
    with at_the_desk.page.expect_popup() as opening:
        at_the_desk.press("Enter")
    form = opening.value
    expect(form.locator("#print")).to_be_focused()
    form.evaluate("window.print = () => document.body.setAttribute('data-printed', '')")
    form.keyboard.press("Enter")
    expect(form.locator("[data-printed]")).to_be_attached()


def test_a_second_factor_is_registered_and_used(world, keys, log_in, staff):
    log_in("hanako")
    keys.to_menu("山田 花子 司書")
    keys.follow("2段階認証を設定")
    keys.page.keyboard.type(PASSWORD)
    keys.enter()
    expect(keys.page.locator("#code")).to_be_focused()
    assert keys.page.locator("img.qr").evaluate("picture => picture.naturalWidth") > 100
    app = TOTP(keys.page.locator("code").inner_text().replace(" ", ""))
    keys.page.keyboard.type(app.at(world.clock()))
    keys.enter()
    keys.reads("2段階認証を設定しました。")
    keys.to_menu("ログアウト")
    world.clock.now += timedelta(minutes=1)
    staff.log_in("hanako")
    expect(keys.page.locator("#code")).to_be_focused()
    keys.page.keyboard.type(app.at(world.clock()))
    keys.enter()
    keys.reads("窓口")


def test_an_auditor_reads_and_saves_what_was_done(world, keys, log_in, busy_month):
    log_in("kansa")
    keys.to_menu("監査記録")
    keys.reads("カードを連携")
    keys.saves("CSVで保存")
    keys.to_menu("利用状況")
    keys.follow("期間別の報告書")
    keys.to("この日から")
    keys.press(*"11012026")
    keys.to("この日まで")
    keys.press(*"11202026")
    keys.follow("表示する")
    keys.reads("2026年11月1日から2026年11月20日まで")
    keys.saves("CSVで保存")
    keys.to_menu("ログアウト")


def test_another_language_is_chosen_on_any_page(keys, log_in):
    log_in("hanako")
    keys.to_menu("連携")
    keys.to_menu("English")
    expect(keys.page.locator("h1")).to_contain_text("Links")
