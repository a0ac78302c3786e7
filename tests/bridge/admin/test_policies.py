"""The rules of a library, in the words of its page."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.admin.policies import in_words
from bridge.admin.words import SECOND_FACTOR_POLICIES
from bridge.library_policies import LibraryPolicies
from bridge.rules import LinkPolicy, OutagePolicy, RevocationRule
from bridge.tokens import CheckDigit, TokenPolicy, TokenShape
from config.table import LIBRARY_SECTIONS, SECTIONS
from jpki.revocation import RevocationPolicy

TOKENS = TokenPolicy(TokenShape("98", 14), timedelta(minutes=15), timedelta(seconds=90))
USUAL = LibraryPolicies(
    ("crl", "ocsp"),
    RevocationRule(RevocationPolicy(timedelta(days=1))),
    LinkPolicy(),
    TOKENS,
    SecondFactorPolicy.OPTIONAL,
)
OTHER = replace(
    USUAL,
    revocation=RevocationRule(
        RevocationPolicy(timedelta(minutes=90)), OutagePolicy.LAST_KNOWN_GOOD, timedelta(hours=6)
    ),
    links=LinkPolicy(timedelta(days=1000), 1, timedelta(days=30)),
    tokens=replace(
        TOKENS,
        shape=TokenShape("7", 12, CheckDigit.LUHN),
        shapes={("chuo", "sc1"): TokenShape("98", 14)},
    ),
    second_factor=SecondFactorPolicy.EVERYONE,
    linked_category={"PT": "PT12"},
)


def told(app, policies, language="ja"):
    with app.test_request_context(headers={"Accept-Language": language, "Host": "localhost"}):
        return {each.title: each.effect for each in in_words(policies)}


def test_the_usual_rules_are_told_in_japanese(world):
    words = told(world.app, USUAL)
    assert "確認先：CRL、OCSP" in words["失効の確認"]
    assert "1日より古い" in words["失効の確認"]
    assert "使えません" in words["失効情報の障害時"]
    assert "3枚まで" in words["1人が連携できる枚数"]
    assert "365日後" in words["記録の消去"]
    assert "98で始まる14桁" in words["ワンタイム番号"]
    assert "90秒" in words["ワンタイム番号"]


def test_other_rules_are_told_as_what_follows_from_them(world):
    words = told(world.app, OTHER, "en")
    assert "90 minutes" in words["Revocation"]
    assert "within the last 6 hours" in words["Outage of the revocation source"]
    assert words["Cards of one patron"] == "A patron has at most 1 linked card."
    assert "at most 1000 days" in words["How long a link lasts"]
    assert "check digit" in words["One-time number"]
    assert "Single machines" in words["One-time number"]
    assert "PT → PT12" in words["Patron category"]
    assert words["Second factor"] == "Everybody logs in with a code, too."


@pytest.mark.parametrize("policies", [USUAL, OTHER])
def test_what_would_change_a_rule_is_a_setting_that_there_is(world, policies):
    sections = (*SECTIONS, *LIBRARY_SECTIONS)
    names = {section.path(setting) for section in sections for setting in section.rows}
    with world.app.test_request_context(headers={"Host": "localhost"}):
        named = {name for each in in_words(policies) for name in each.settings}
    assert {name for name in named if not name.endswith("*")} <= names


def test_every_policy_of_the_second_factor_has_words():
    assert set(SECOND_FACTOR_POLICIES) == set(SecondFactorPolicy)


def test_the_page_of_a_library_shows_its_rules_to_who_administers_it(browser_of):
    page = browser_of("kanri").get("/admin/libraries/chuo/").text
    assert "現在の運用ルール" in page
    assert "revocation.outage_policy" in page


def test_a_changed_role_is_told_as_it_was_and_as_it_is(world, browser_of):
    browser = browser_of("kanri")
    account = f"/admin/libraries/chuo/staff/{world.hanako.librarian_id}"
    page = browser.post(account, account, {"role": "auditor"}, follow=True).text
    assert "役割を「司書」から「監査担当」に変更しました" in page
