"""The simulated ACS, line by line as Koha was observed: each test is a row of what it must reproduce."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, datetime

import pytest

from sip2_adapter.codec import checksum
from sip2_adapter.simulator import Account, AcsItem, Encoding, Fault, Policy, recurring
from sip2_adapter.simulator.acs import idle_limit
from sip2_adapter.simulator.wire import clean, wants_error_detection

DATE = b"20261120    155739"
CARD = b"20000000000001"
EXPIRED = b"20000000000003"
RESTRICTED = b"20000000000004"
LOST = b"20000000000005"
OWING = b"20000000000006"
NO_ADDRESS = b"20000000000010"
LIMITED = b"20000000000007"
CHILD = b"20000000000008"
JAPANESE = b"20000000000009"
BOOK = b"39999000000001"
RENTAL = b"39999000000003"
HELD_BOOK = b"39999000000005"
STATUS = b"9900802.00"
CRLF = b"\r\n"


def information(identifier=CARD, *, summary=b" " * 10, language=b"001", rest=b""):
    return b"63" + language + DATE + summary + b"AOXXX|AA" + identifier + b"|" + rest


def status(identifier=CARD, *, language=b"001", rest=b""):
    return b"23" + language + DATE + b"AOXXX|AA" + identifier + b"|AC|" + rest


def checkout(identifier=CARD, item=BOOK, *, no_block=b"N", rest=b""):
    return b"11Y" + no_block + DATE * 2 + b"AOXXX|AA" + identifier + b"|AB" + item + b"|AC|" + rest


def checkin(item=BOOK):
    return b"09N" + DATE * 2 + b"APCPL|AOXXX|AB" + item + b"|AC|"


def renewal(identifier=CARD, item=BOOK):
    return b"29NN" + DATE * 2 + b"AOXXX|AA" + identifier + b"|AB" + item + b"|"


@pytest.fixture
def machine(start_acs, connect):
    """Log a machine in to an ACS with one account of the given options, which ends answers in CR LF."""

    async def start(*, acs=None, **options):
        account = Account("sc", "pw", "CPL", **options)
        acs = await start_acs([account], **(acs or {}))
        machine = await connect(acs.port)
        await machine.send(b"9300CNsc|COpw|CPignored|\r")
        terminator = b"\r" if options.get("terminator") == "CR" else CRLF
        assert await machine.line(terminator) == b"941"

        async def ask(frame, end=terminator):
            await machine.send(frame + b"\r")
            return await machine.line(end)

        machine.ask = ask
        return machine

    return start


# Framing


async def test_lf_alone_ends_nothing_and_lf_behind_cr_belongs_to_the_next_message(machine):
    sc = await machine()
    await sc.send(STATUS + b"\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await sc._reader.readexactly(1)
    await sc.send(b"\r\n" + STATUS + b"\r\n")
    assert (await sc.line(CRLF)).startswith(b"98Y")
    assert (await sc.line(CRLF)).startswith(b"98Y")


async def test_a_password_that_ends_the_message_loses_its_punctuation(machine, library):
    library.password = "1234"
    sc = await machine()
    assert b"|CQY|" in await sc.ask(information(rest=b"AD1234!!|||"))
    sealed = sc.sealed(information(rest=b"AD1234!!|"))
    assert b"|CQN|" in await sc.ask(sealed)


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        (b"  |!63x|||", b"63x"),
        (b"[\\]^_`63x[\\]^_`", b"[\\]^_`63x[\\]^_`"),
        (b"63a\nb\r\nc|\n", b"63abc"),
        ("63太".encode(), b"63"),
        (b"|||", b""),
    ],
)
def test_what_koha_strips_of_a_line(line, cleaned):
    assert clean(line) == cleaned


async def test_a_long_message_arrives_byte_by_byte_and_others_in_one_segment(machine):
    sc = await machine()
    assert b"A" * 100_000 in await sc.ask(information(b"A" * 100_000))
    for byte in STATUS:
        await sc.send(bytes([byte]))
    await sc.send(b"\r" + STATUS + b"\r" + information() + b"\r")
    heads = [(await sc.line(CRLF))[:2] for _ in range(3)]
    assert heads == [b"98", b"98", b"64"]


async def test_the_first_of_a_repeated_field_wins_and_unknown_ones_are_ignored(machine):
    sc = await machine()
    frame = b"63001" + DATE + b" " * 10 + b"ZZx|AA" + CARD + b"|AAnobody|AOXXX|"
    assert b"|BLY|" in await sc.ask(frame)
    lost = b"63001" + DATE + b" " * 10 + b"AOXXX|AA123AC|"
    assert b"|AA123AC|" in await sc.ask(lost)


async def test_answers_end_as_the_account_says_but_96_always_in_cr(machine):
    sc = await machine(terminator="CR")
    assert (await sc.ask(STATUS, b"\r")).startswith(b"98")
    sc = await machine()
    assert (await sc.ask(STATUS)).startswith(b"98")
    assert await sc.ask(b"77x", b"\r") == b"96"
    frame = sc.sealed(STATUS)
    assert await sc.ask(frame[:-4] + b"0000", b"\r") == b"96AZFEF6"
    await sc.send(STATUS + b"\r")
    assert (await sc.line(CRLF))[:2] == b"98", "no LF came after the 96"


async def test_delimiters_and_cr_in_values_are_replaced(machine, library):
    library.items["7"] = AcsItem("7", "a\rb|c\nd")
    sc = await machine()
    assert b"|AJa b&#124;c\nd|" in await sc.ask(b"17" + DATE + b"AOXXX|AB7|")


async def test_a_blank_language_makes_some_answers_three_characters_short(machine):
    sc = await machine()
    assert (await sc.ask(status(language=b"   "))).startswith(b"24" + b" " * 14 + DATE)
    assert (await sc.ask(information(b"no", language=b"   "))).startswith(b"64YYYY" + b" " * 10 + DATE)
    assert (await sc.ask(information(language=b"   "))).startswith(b"64" + b" " * 14 + b"000" + DATE)


# Error detection


async def test_error_detection_follows_the_machine(machine):
    sc = await machine()
    answer = await sc.ask(sc.sealed(STATUS, 7))
    assert answer[-9:-4] == b"AY7AZ"
    assert answer[-4:] == checksum(answer[:-4])
    assert b"AZ" not in await sc.ask(STATUS)
    frame = sc.sealed(STATUS, 8)
    assert b"AY8AZ" in await sc.ask(frame[:-4] + frame[-4:].lower())


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"9900802.00AY1AZFCA0", True),
        (b"97AZFEF5", True),
        (b"97", False),
        (b"9900802.00AZFCA0", False),  # AZ without AY
        (b"99AY1AZFCA0", False),  # no longer than AY and AZ and the code
        (b"9900802.00", False),
    ],
)
def test_when_koha_detects_errors(line, wanted):
    assert wants_error_detection(line) is wanted


async def test_a_wrong_checksum_or_one_of_code_points_is_not_executed(machine, library):
    sc = await machine()
    frame = sc.sealed(checkout())
    assert await sc.ask(frame[:-4] + b"ZZZZ", b"\r") == b"96AZFEF6"
    text = "63001" + DATE.decode() + " " * 10 + "AOXXX|AA太郎|AY0AZ"
    frame = text.encode() + b"%04X" % (-sum(map(ord, text)) & 0xFFFF)
    assert await sc.ask(frame, b"\r") == b"96AZFEF6"
    assert library.checkouts == 0


async def test_97_repeats_the_last_answer_with_number_0_or_as_it_was(machine):
    sc = await machine()
    plain = await sc.ask(STATUS)
    assert await sc.ask(b"97", b"\r") == plain
    numbered = await sc.ask(sc.sealed(STATUS, 7))
    assert await sc.ask(b"97AZFEF5") == sc.sealed(numbered[:-9], 0)


async def test_nothing_to_repeat_is_96(start_acs, connect):
    acs = await start_acs(telnet=True)
    sc = await connect(acs.port)
    await sc.send(b"kiosk1\rpw1\r")
    await sc.line(b"Initiating SIP\r\n")
    assert await sc.ask(b"97") == b"96"


async def test_a_repeated_request_is_executed_again(machine, library):
    sc = await machine()
    frame = sc.sealed(checkout(), 3)
    assert (await sc.ask(frame)).startswith(b"121N")
    assert (await sc.ask(frame)).startswith(b"121Y")
    assert library.checkouts == 2


# Encoding


@pytest.mark.parametrize(
    ("encoding", "name", "bytes_sent", "by_code_points"),
    [
        ("utf8", "太郎", "太郎".encode(), False),
        ("ascii", "José 太", b"Jos? ?", False),
        ("", "José", "José".encode("latin-1"), False),
        ("", "太郎", "太郎".encode(), True),
    ],
)
async def test_the_character_sets(machine, library, encoding, name, bytes_sent, by_code_points):
    library.patrons[CARD.decode()] = replace(library.patrons[CARD.decode()], name=name)
    sc = await machine(encoding=Encoding(encoding))
    answer = await sc.ask(sc.sealed(information()))
    assert b"|AE" + bytes_sent + b"|" in answer
    covered = answer[:-4]
    total = sum(map(ord, covered.decode())) if by_code_points else sum(covered)
    assert answer[-4:] == b"%04X" % (-total & 0xFFFF)


async def test_requests_are_never_decoded(machine):
    sc = await machine(encoding=Encoding.UTF8)
    echoed = await sc.ask(sc.sealed(information("ã".encode())))
    assert b"|AA" + "Ã£".encode() + b"|" in echoed


# Log-in and closing


@pytest.mark.parametrize("frame", [b"9300CNsc|COwrong|", b"9310CNsc|COpw|", b"9300CNnobody|COpw|"])
async def test_a_refused_login_is_940_and_the_end(start_acs, connect, frame):
    acs = await start_acs([Account("sc", "pw", "CPL", terminator="CR")])
    sc = await connect(acs.port)
    await sc.send(frame + b"\r")
    assert await sc.end() == b"940\r\n"


@pytest.mark.parametrize("first", [STATUS, b"", b"97AZFEF5"])
async def test_anything_but_a_login_first_closes_silently(start_acs, connect, first):
    sc = await connect((await start_acs()).port)
    await sc.send(first + b"\r")
    assert await sc.end() == b""


async def test_a_second_login_changes_the_account(start_acs, connect):
    accounts = [Account("a", "pw", "ONE", terminator="CR"), Account("b", "pw", "TWO", terminator="CR")]
    sc = await connect((await start_acs(accounts)).port)
    for name, institution in ((b"a", b"AOONE|"), (b"b", b"AOTWO|")):
        assert await sc.ask(b"9300CN" + name + b"|COpw|") == b"941"
        assert institution in await sc.ask(STATUS)


async def test_telnet_asks_in_words_three_times_and_starts_with_protocol_1(start_acs, connect):
    acs = await start_acs(telnet=True)
    sc = await connect(acs.port)
    await sc.send(b"x\ry\rkiosk2\rpw2\r")
    assert await sc.line(b"SIP\r\n") == (
        b"login: password: Invalid login\r\nlogin: password: Login OK.  Initiating "
    )
    assert await sc.ask(information()) == b"96"
    assert (await sc.ask(STATUS)).startswith(b"98")
    assert (await sc.ask(information())).startswith(b"64")
    hopeless = await connect(acs.port)
    await hopeless.send(b"x\ry\r" * 3)
    assert (await hopeless.end()).count(b"Invalid login\r\n") == 3


@pytest.mark.parametrize(
    "deadly", [b"", b"01N" + DATE + b"AOXXX|ALx|AAnobody|AC|", b"19" + DATE + b"AOXXX|ABnope|CHx|"]
)
async def test_what_kills_a_connection(machine, deadly):
    sc = await machine()
    await sc.send(deadly + b"\r")
    assert await sc.end() == b""


async def test_time_outs_close_silently(start_acs, connect, machine):
    waiting = await connect((await start_acs(login_timeout=0.03)).port)
    assert await waiting.end() == b""
    idle = await machine(acs={"client_timeout": 0.03})
    assert await idle.end() == b""


@pytest.mark.parametrize(
    ("client_timeout", "limit"), [(600, 600), ("600", 600), (0, None), ("never", None), (None, 30)]
)
def test_an_absent_idle_limit_is_that_of_the_login_and_0_or_a_word_is_none(client_timeout, limit):
    assert idle_limit(client_timeout, 30) == limit


async def test_protocol_1_knows_fewer_messages_and_fields(machine):
    sc = await machine()
    answer = await sc.ask(b"9900801.00")
    assert answer.endswith(b"1.00AOCPL|")
    assert await sc.ask(information(), b"\r") == b"96"
    assert b"BL" not in await sc.ask(status())
    await sc.ask(STATUS)
    assert b"|BLY|" in await sc.ask(status())
    await sc.ask(b"9900801.00")
    await sc.ask(b"9300CNsc|COpw|")
    assert (await sc.ask(information())).startswith(b"64")


# Messages


async def test_24_echoes_ao_last_and_always_says_cq(machine, library):
    library.password = "right"
    sc = await machine()
    assert await sc.ask(status(rest=b"AD|")) == (
        b"24" + b" " * 14 + b"001" + DATE + b"AEEdna Acosta|AA" + CARD
        + b"|BLY|CQN|BV0|AFGreetings from Koha. |AOXXX|"
    )  # fmt: skip
    assert b"|CQY|" in await sc.ask(status(rest=b"ADright|"))
    assert b"|CQN|BV0|AFGreetings from Koha.  -- Invalid password|" in await sc.ask(status(rest=b"ADno|"))
    assert await sc.ask(status(b"no")) == (
        b"24YYYY          001" + DATE + b"AE|AAno|BLN|AFInvalid cardnumber|AOXXX|"
    )


async def test_64_says_the_accounts_institution_and_cq_only_if_asked(machine, library):
    sc = await machine()
    assert await sc.ask(information()) == (
        b"64" + b" " * 14 + b"001" + DATE + b"0000" * 6 + b"AOCPL|AA" + CARD
        + b"|AEEdna Acosta|BLY|BV0|CC5|PCPT|PIY|AFGreetings from Koha. |"
    )  # fmt: skip
    assert await sc.ask(information(b"99")) == (
        b"64YYYY          001" + DATE + b"0000" * 6 + b"AOCPL|AA99|AE|BLN|AFInvalid cardnumber|"
    )
    assert b"|CQN|" in await sc.ask(sc.sealed(information(rest=b"AD|")))
    assert b"|CQY|" in await sc.ask(sc.sealed(information(CHILD, rest=b"AD|")))


async def test_empty_passwords_are_allowed_in_63_only(machine):
    sc = await machine(allow_empty_passwords=True)
    assert b"|CQY|" in await sc.ask(sc.sealed(information(rest=b"AD|")))
    assert b"|CQN|" in await sc.ask(sc.sealed(status(rest=b"AD|")))


async def test_the_first_y_of_the_summary_chooses_the_list(machine, library):
    library.patrons[CARD.decode()] = replace(
        library.patrons[CARD.decode()],
        hold_items=("h1",),
        overdue_items=("o1",),
        fine_items=("Lost 12.50",),
        unavailable_hold_items=("u1",),
    )
    library.loans.update({"c1": CARD.decode(), "c2": CARD.decode(), "c3": CARD.decode()})
    sc = await machine()
    assert b"00010001000300010000" + b"0001AOCPL" in await sc.ask(information())
    for place, expected in enumerate((b"|ASh1|", b"|ATo1|", b"|AUc1|AUc2|AUc3|", b"|AVLost 12.50|")):
        assert expected in await sc.ask(information(summary=(b" " * place + b"YY").ljust(10)))
    assert b"BU" not in await sc.ask(information(summary=b"    Y     "))
    assert b"|CDu1|" in await sc.ask(information(summary=b"     Y    "))
    assert b"|AU" not in await sc.ask(information(summary=b"      Y   "))
    window = await sc.ask(information(summary=b"  Y       ", rest=b"BP2|BQ2|"))
    assert b"|AUc2|" in window
    assert window.count(b"|AU") == 1


async def test_a_count_above_9999_is_blank(machine, library):
    library.patrons[CARD.decode()] = replace(library.patrons[CARD.decode()], hold_items=("h",) * 10000)
    assert (await (await machine()).ask(information()))[37:41] == b" " * 4


async def test_98_says_yes_to_renewal_for_any_word(machine):
    sc = await machine(acs={"policy": Policy(renewal="false", status_update=True)})
    assert await sc.ask(STATUS) == (b"98YYYYYN100005" + DATE + b"2.00AOCPL|BXYYYYYYYYYYYNYYYY|")
    sc = await machine(acs={"policy": Policy(renewal="", checkin=False)})
    assert (await sc.ask(STATUS)).startswith(b"98YNYNNN")


async def test_12_of_a_loan_a_renewal_and_a_refusal(machine):
    sc = await machine()
    head = DATE + b"AOCPL|AA" + CARD + b"|AB" + BOOK + b"|AJThe Perl &#124; book|AH20261204    155739|"
    assert await sc.ask(checkout()) == b"121NNY" + head + b"CK001|"
    assert await sc.ask(checkout()) == (
        b"121YNY" + head + b"AFItem already checked out to you: renewing item.|CK001|"
    )
    assert await sc.ask(checkout(EXPIRED)) == (
        b"120NUN" + DATE + b"AOCPL|AA" + EXPIRED + b"|AB" + BOOK
        + b"|AJThe Perl &#124; book|AH|AFPatron expired on 2026-11-10|BLY|"
    )  # fmt: skip
    assert (await sc.ask(checkout(b"nobody"))).endswith(b"|AH|AFInvalid Patron|BLN|")
    assert b"|AJ|AH|AFInvalid Item|BLY|" in await sc.ask(checkout(item=b"nope"))


async def test_12_echoes_a_userid_where_64_gives_the_card_number(machine):
    sc = await machine()
    assert b"|AAedna|" in await sc.ask(checkout(b"edna"))
    assert b"|AA" + CARD + b"|" in await sc.ask(information(b"edna"))
    assert DATE + b"AA" + CARD + b"|" in await sc.ask(renewal(b"edna"))


async def test_a_rental_fee_must_be_acknowledged_and_the_refusal_says_nothing(machine):
    sc = await machine()
    refused = await sc.ask(checkout(item=RENTAL))
    assert refused.endswith(b"|AH|BLY|BV100|BHUSD|BT06|")
    assert (await sc.ask(checkout(item=RENTAL, rest=b"BOY|"))).endswith(b"|CK001|BV100|BHUSD|BT06|")


async def test_no_block_skips_the_patrons_blocks(machine):
    assert (await (await machine()).ask(checkout(EXPIRED, no_block=b"Y"))).startswith(b"121")


async def test_10_names_the_borrower_and_who_waits(machine, library):
    sc = await machine(cv_send_00_on_success=True)
    library.loans.update({BOOK.decode(): CARD.decode(), HELD_BOOK.decode(): CARD.decode()})
    assert await sc.ask(checkin()) == (
        b"101YNN" + DATE + b"AOXXX|AB" + BOOK + b"|AQCPL|AJThe Perl &#124; book|AA" + CARD
        + b"|CK001|CS913 T|CV00|"
    )  # fmt: skip
    held = await sc.ask(checkin(HELD_BOOK))
    assert held.startswith(b"101YNY")
    assert b"|CY" + JAPANESE + b"|CTCPL|DA" in held
    assert held.endswith(b"|CV01|")
    assert await sc.ask(checkin(b"nope")) == (b"100NUY" + DATE + b"AOXXX|ABnope|AQ|CV99|AFInvalid Item|")
    absent = await sc.ask(checkin())
    assert absent.startswith(b"100YNY")
    assert absent.endswith(b"|AFItem not checked out|")


async def test_an_item_that_was_not_out_can_be_fine_too(machine):
    sc = await machine(checked_in_ok=True, ct_always_send=True, cv_triggers_alert=True)
    answer = await sc.ask(checkin())
    assert answer.startswith(b"101YNN")
    assert b"|CT|" in answer
    assert b"AF" not in answer


async def test_18_has_no_institution(machine, library):
    due = datetime(2026, 12, 4, 23, 59)  # noqa: DTZ001  # a due date on the wire has no zone
    library.items["9"] = AcsItem("9", "T", "04", "CPL", collection="FIC", due_at=due)
    library.items["8"] = AcsItem("8", "T", "01", damaged=True)
    sc = await machine()
    assert await sc.ask(b"17" + DATE + b"AOXXX|AB9|") == (
        b"18040201" + DATE + b"AB9|AJT|CK001|AQCPL|CRFIC|BGCPL|AH20261204    235900|"
    )
    assert b"AFItem is damaged|AB8|" in await sc.ask(b"17" + DATE + b"AOXXX|AB8|")
    assert b"|BHUSD|BV100|" in await sc.ask(b"17" + DATE + b"AOXXX|AB" + RENTAL + b"|")
    assert await sc.ask(b"17" + DATE + b"AOXXX|ABnope|") == b"18010101" + DATE + b"ABnope|AJ|"


async def test_20_30_66_16_36_38_26_and_24_to_01(machine, library):
    sc = await machine()
    assert await sc.ask(b"19" + DATE + b"AOXXX|AB" + BOOK + b"|CHx|") == (
        b"201" + DATE + b"AB" + BOOK + b"|AJThe Perl &#124; book|CHx|"
    )
    await sc.ask(checkout())
    assert await sc.ask(renewal()) == (
        b"301YNN" + DATE + b"AA" + CARD + b"|AB" + BOOK
        + b"|AJThe Perl &#124; book|AH20261204    155739|CK001|AOCPL|"
    )  # fmt: skip
    assert await sc.ask(renewal(JAPANESE)) == (
        b"300NUN" + DATE + b"AA" + JAPANESE + b"|AB" + BOOK
        + b"|AJThe Perl &#124; book|AH|AOCPL|AFItem not checked out to ?? ??|"
    ).replace(b"?? ??", "太郎 山田".encode())  # fmt: skip
    library.loans["elsewhere"] = CARD.decode()
    assert await sc.ask(b"65" + DATE + b"AOXXX|AA" + CARD + b"|") == (
        b"66100020000" + DATE + b"AOCPL|BM" + BOOK + b"|BMelsewhere|"
    )
    assert await sc.ask(b"65" + DATE + b"AOXXX|AA" + EXPIRED + b"|") == (
        b"66000000000" + DATE + b"AOCPL|AFRenewals not allowed.|"
    )
    assert await sc.ask(b"65" + DATE + b"AOXXX|AAno|") == b"66000000000" + DATE + b"AOCPL|"
    assert await sc.ask(b"15+" + DATE + b"BSEAST|AOXXX|AAedna|AB" + BOOK + b"|") == (
        b"161N" + DATE + b"AA" + CARD + b"|BR1|BSEAST|AB" + BOOK + b"|AJThe Perl &#124; book|AOCPL|"
    )
    assert await sc.ask(b"15+" + DATE + b"AOXXX|AAno|ABx|") == b"160N" + DATE + b"AAno|AOCPL|"
    assert await sc.ask(b"35" + DATE + b"AOXXX|AAno|") == (b"36Y" + DATE + b"AOCPL|AAno|AFThank you!|")
    pay = b"37" + DATE + b"0100JPYAOXXX|AA"
    assert await sc.ask(pay + CARD + b"|BV12.5|BKt1|") == (b"38Y" + DATE + b"AOXXX|AA" + CARD + b"|BKt1|")
    for wrong in (b"BVmuch|", b"BVNaN|", b""):
        assert (await sc.ask(pay + CARD + b"|" + wrong)).startswith(b"38N")
    assert await sc.ask(b"25" + DATE + b"AOXXX|AA" + CARD + b"|ADx|") == (
        b"26" + b" " * 14 + b"000" + DATE + b"AA" + CARD
        + b"|AE|CQN|BLY|AFEnable feature not implemented.|AOXXX|"
    )  # fmt: skip
    assert await sc.ask(b"01N" + DATE + b"AOXXX|ALx|AA" + CARD + b"|AC|") == (
        b"24YYYY          000" + DATE + b"AEEdna Acosta|AA" + CARD
        + b"|BLY|AFBlock feature not implemented|AOXXX|"
    )  # fmt: skip


async def test_fields_may_be_hidden_texts_changed_and_others_added(machine):
    sc = await machine(
        hide_fields=frozenset({"AE", "PA"}),
        screen_msg_regex=(("Greetings from Koha.", "ようこそ"),),
        custom_patron_fields=(("PA", lambda patron: date(2027, 3, 31).isoformat()),),
        send_patron_home_library_in_af=True,
        drop_zeros=True,
        encoding=Encoding.UTF8,
    )
    answer = await sc.ask(information())
    assert b"|AE" not in answer
    assert b"|BV" not in answer
    assert answer.endswith("|AFようこそ |PA2027-03-31|".encode())
    only = await machine(allow_fields=frozenset({"AA"}))
    assert (await only.ask(information()))[61:] == b"AA" + CARD + b"|"


async def test_the_location_code_of_a_log_in_is_ignored(machine):
    sc = await machine()
    status_before = await sc.ask(STATUS)
    assert await sc.ask(b"9300CNsc|COpw|CPELSEWHERE|") == b"941"
    assert await sc.ask(STATUS) == status_before
    assert b"AOCPL|" in status_before
    assert b"AOCPL|" in await sc.ask(information())


# Patron conditions


@pytest.mark.parametrize(
    ("card", "flags", "internet", "text", "refusal"),
    [
        (
            EXPIRED,
            b"YYYY          ",
            b"N",
            b"Your account has expired as of 2026-11-10",
            b"Patron expired on 2026-11-10",
        ),
        (RESTRICTED, b"YYYY          ", b"N", b" -- see desk", b"Patron debarred"),
        (LOST, b"YYYYY         ", b"N", b" -- Borrower's card reported lost.", b"Patron blocked"),
        (NO_ADDRESS, b"YYYYY         ", b"Y", b" -- Borrower has no valid address.", b"Patron blocked"),
        (OWING, b"YYYY      YY  ", b"N", b"Greetings from Koha. ", b"Patron has fines"),
        (LIMITED, b"              ", b"Y", b"Greetings from Koha. ", b"Item cannot be issued: TOO_MANY"),
    ],
    ids=["expired", "restricted", "lost", "no address", "owing", "limit reached"],
)  # fmt: skip
async def test_a_patrons_condition_shows_in_64_24_and_12(machine, card, flags, internet, text, refusal):
    sc = await machine()
    answer = await sc.ask(information(card))
    assert answer[2:16] == flags
    assert b"|BLY|" in answer
    assert b"|PI" + internet + b"|" in answer
    assert text + b"|" in answer
    assert (await sc.ask(status(card)))[2:16] == flags
    assert b"|AF" + refusal + b"|BLY|" in await sc.ask(checkout(card))


async def test_overdues_may_deny_loans_and_show_in_the_status(machine, library):
    library.patrons[CARD.decode()] = replace(library.patrons[CARD.decode()], overdues_block=True)
    sc = await machine()
    assert (await sc.ask(information()))[2:16] == b"Y" + b" " * 13
    sc = await machine(overdues_block_checkout=True)
    answer = await sc.ask(information())
    assert answer[2:16] == b"Y     Y       "
    assert b"|PIY|" in answer


# Options of the account


async def test_templates_change_names_fines_and_who_waits(machine, library):
    library.patrons[CARD.decode()] = replace(library.patrons[CARD.decode()], fine_items=("Lost 12.50",))
    sc = await machine(
        ae_field_template=lambda patron: patron.name.upper(),
        av_field_template=lambda line: f"[{line}]",
        da_field_template=lambda patron: "ready",
    )
    assert b"|AEEDNA ACOSTA|" in await sc.ask(information())
    assert (await sc.ask(status()))[37:].startswith(b"AEEDNA ACOSTA|")
    assert b"|AEEDNA ACOSTA|" in await sc.ask(b"25" + DATE + b"AOXXX|AA" + CARD + b"|")
    assert b"|AV[Lost 12.50]|" in await sc.ask(information(summary=b"   Y      "))
    library.loans[HELD_BOOK.decode()] = CARD.decode()
    assert b"|DAready|" in await sc.ask(checkin(HELD_BOOK))


async def test_attributes_and_item_fields_are_added_and_never_hidden(machine, library):
    library.patrons[CARD.decode()] = replace(library.patrons[CARD.decode()], attributes={"SCHOOL": "3-B"})
    sc = await machine(
        custom_patron_fields=(("PA", lambda patron: "0"),),
        patron_attributes=(("XS", "SCHOOL"), ("XT", "NONE")),
        item_fields=(("XI", lambda item: item.call_number),),
        hide_fields=frozenset({"PA", "XS", "XI"}),
    )
    assert (await sc.ask(information())).endswith(b"|PA0|XS3-B|")
    assert b"|PA0|XS3-B|AOXXX|" in await sc.ask(status())
    assert (await sc.ask(checkout())).endswith(b"|CK001|XI913 T|")
    assert b"|XI913 T|" in await sc.ask(checkin())
    assert (await sc.ask(b"17" + DATE + b"AOXXX|AB" + BOOK + b"|")).endswith(b"|XI913 T|")
    assert b"XI" not in await sc.ask(checkin(b"nope"))


async def test_without_a_custom_field_pa_is_never_sent(machine):
    sc = await machine()
    assert b"|PA" not in await sc.ask(information())
    assert b"|PA" not in await sc.ask(status())


async def test_a_held_item_may_have_to_go_to_the_desk(machine, library):
    library.items[HELD_BOOK.decode()] = replace(library.items[HELD_BOOK.decode()], on_hold=True)
    library.loans[HELD_BOOK.decode()] = CARD.decode()
    sc = await machine(holds_block_checkin=True)
    answer = await sc.ask(checkin(HELD_BOOK))
    assert answer.startswith(b"100YNY")
    assert answer.endswith(b"|CV99|AFItem is on hold, please return to circulation desk|")
    assert HELD_BOOK.decode() in library.loans


async def test_nonprinting_characters_may_be_replaced(machine, library):
    library.items["7"] = AcsItem("7", "a\nb\tc")
    sc = await machine(convert_nonprinting_characters="?")
    assert b"|AJa?b?c|" in await sc.ask(b"17" + DATE + b"AOXXX|AB7|")


async def test_24_and_64_name_the_currency_where_there_is_one(machine):
    sc = await machine(acs={"policy": Policy(currency="JPY")})
    assert b"|BLY|BHJPY|BV0|CC5|" in await sc.ask(information())
    assert b"|CQN|BHJPY|BV0|" in await sc.ask(status())


async def test_25_looks_at_the_password_and_gives_the_card_number_of_a_userid(machine, library):
    library.password = "right"
    sc = await machine()
    enable = b"25" + DATE + b"AOXXX|AAedna|AD"
    assert b"|AA" + CARD + b"|" in (await sc.ask(enable + b"right|")).replace(DATE, DATE + b"|")
    assert b"|CQY|" in await sc.ask(enable + b"right|")
    assert b"|CQN|" in await sc.ask(enable + b"wrong|")


async def test_no_request_but_23_63_and_25_looks_at_the_password(machine):
    sc = await machine()
    assert (await sc.ask(checkout(rest=b"ADwrong|"))).startswith(b"121")
    assert (await sc.ask(renewal() + b"ADwrong|")).startswith(b"301")
    renew_all = b"65" + DATE + b"AOXXX|AA" + CARD + b"|ADwrong|"
    assert (await sc.ask(renew_all)).startswith(b"661")
    hold = b"15+" + DATE + b"AOXXX|AA" + CARD + b"|ADwrong|AB" + BOOK + b"|"
    assert (await sc.ask(hold)).startswith(b"161")
    pay = b"37" + DATE + b"0100JPYAOXXX|AA" + CARD + b"|ADwrong|BV1|"
    assert (await sc.ask(pay)).startswith(b"38Y")


async def test_a_process_of_koha_remembers_the_machine_before(start_acs, connect):
    accounts = [Account("sc", "pw", "CPL", terminator="CR")]
    acs = await start_acs(accounts, telnet=True, one_process=True)
    first = await connect(acs.port)
    await first.send(b"sc\rpw\r")
    await first.line(b"Initiating SIP\r\n")
    answer = await first.ask(status())
    second = await connect(acs.port)
    await second.send(b"sc\rpw\r")
    await second.line(b"Initiating SIP\r\n")
    assert await second.ask(b"97") == answer, "the answer about the first machine's patron"


# Faults


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(Fault.CLOSE, b""), (Fault.HALF, b"98YYYYNN10000520261120")],
    ids=["close", "half"],
)
async def test_an_answer_is_cut_off(machine, fault, expected):
    sc = await machine(acs={"faults": lambda number, _: fault if number == 2 else None})
    await sc.send(STATUS + b"\r")
    rest = await sc.end()
    assert rest.startswith(expected)
    assert CRLF not in rest


async def test_an_answer_comes_late_or_never(machine):
    sc = await machine(
        acs={
            "faults": lambda number, _: {2: Fault.LATE, 3: Fault.IGNORE}.get(number),
            "late_seconds": 0.05,
        }
    )
    before = asyncio.get_running_loop().time()
    assert (await sc.ask(STATUS)).startswith(b"98")
    assert asyncio.get_running_loop().time() - before >= 0.05
    await sc.send(STATUS + b"\r" + information() + b"\r")
    assert (await sc.line(CRLF)).startswith(b"64"), "the 99 was not answered"


async def test_checksum_and_sequence_are_wrong_on_demand(machine, library):
    plan = {2: Fault.WRONG_CHECKSUM, 3: Fault.WRONG_SEQUENCE, 4: Fault.ASK_TO_RESEND}
    sc = await machine(acs={"faults": lambda number, _: plan.get(number)})
    answer = await sc.ask(sc.sealed(STATUS, 1))
    assert answer[-4:] == b"0000" != checksum(answer[:-4])
    answer = await sc.ask(sc.sealed(STATUS, 2))
    assert answer[-9:-4] == b"AY7AZ"
    assert answer[-4:] == checksum(answer[:-4])
    assert await sc.ask(sc.sealed(checkout(), 3), b"\r") == b"96AZFEF6"
    assert library.checkouts == 0


def test_recurring_faults_spare_the_login():
    plan = recurring(Fault.LATE, every=2)
    assert [plan(number, "93" if number == 1 else "63") for number in (1, 2, 3, 4)] == [
        None,
        Fault.LATE,
        None,
        Fault.LATE,
    ]
    assert recurring(Fault.LATE)(1, "93") is None
    assert [recurring(Fault.HALF, code="11")(7, code) for code in ("11", "63")] == [Fault.HALF, None]


async def test_a_fault_is_named_by_number_or_code(machine):
    sc = await machine(acs={"faults": lambda number, _: Fault.CLOSE if number == 3 else None})
    assert (await sc.ask(STATUS)).startswith(b"98")
    await sc.send(STATUS + b"\r")
    assert await sc.end() == b""
