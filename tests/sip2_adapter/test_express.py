"""The express lane's bytes are the general way's bytes, or it keeps its hands off."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sip2_adapter import decode, encode, seal
from sip2_adapter.codec import byte_sum, checksum
from sip2_adapter.express import ExpressSwap, FrameView, is_usual_answer, patron_of
from sip2_adapter.framing import FrameBuffer, Terminator
from sip2_adapter.grammar import MESSAGES, REQUESTS
from sip2_adapter.rewrite import (
    drop_other_patrons,
    fill_language,
    is_ambiguous,
    names_another_patron,
    patron_identifier,
    put_patron_identifier,
    restore_patron_identifier,
)

DATE = b"20261120    155739"
TOKEN = b"98000000000017"
CARD = b"20000000000001"
REQUEST = b"63000" + DATE + b"  Y       AOCPL|AA" + TOKEN + b"|AC|AD|"
ANSWER = b"64" + b" " * 14 + b"000" + DATE + b"0000" * 6 + b"AOCPL|AA" + CARD + b"|AEEdna|BLY|AFHello. |"


def sealed(body, sequence=3):
    head = body + b"AY%dAZ" % sequence
    return head + checksum(head)


# Pieces that make a message usual or not, put together at random.
identifiers = st.sampled_from([TOKEN, CARD, b"", b" ", b"A-1", CARD + b" ", b"AA", b"edna", b"2"])
fields = st.lists(
    st.one_of(
        st.tuples(st.just(b"AA"), identifiers),
        st.tuples(
            st.sampled_from(
                [b"AO", b"AB", b"AE", b"AF", b"AU", b"AY", b"AZ", b"PI", b"A", b"", b"|AA", b"CY"]
            ),
            st.sampled_from(
                [
                    b"",
                    b"CPL",
                    b"a\nb",
                    b"\0",
                    CARD,
                    b"a " + CARD + b".",
                    CARD + CARD,
                    b"AA",
                    b"\xe5\xa4\xaa",
                    TOKEN,
                ]
            ),
        ),
    ),
    max_size=5,
)
endings = st.sampled_from(["sealed"] * 6 + ["plain", "lower", "trailing", "wrong", "open"])


@st.composite
def frames(draw, codes):
    code = draw(st.sampled_from(codes))
    length = MESSAGES[code].fixed_length
    fixed = draw(st.sampled_from([b"0" * length, b" " * length, b"001" + b"1" * length, b"|AA" + CARD * 5]))
    body = code + fixed[:length] + b"".join(name + value + b"|" for name, value in draw(fields))
    frame = sealed(body, draw(st.integers(0, 9)))
    match draw(endings):
        case "plain":
            return body
        case "lower":
            return frame[:-4] + frame[-4:].lower()
        case "trailing":
            return frame + b"|"
        case "wrong":
            return frame[:-4] + b"0000"
        case "open":
            return sealed(body[:-1])
    return frame


@given(frames(sorted(REQUESTS)), st.sampled_from([CARD, b"1", b"edna"]))
@example(sealed(REQUEST), CARD)
@example(sealed(REQUEST + b"A\nA" + CARD + b"|"), CARD)
@example(sealed(REQUEST + b"A\0A" + CARD + b"|"), CARD)
def test_a_request_goes_out_as_on_the_general_way(frame, cardnumber):
    identifier = patron_of(frame)
    for token in (TOKEN, CARD, b"AA", b"edna", b"2"):
        express = ExpressSwap(token, cardnumber, token).to_acs(frame)
        assert (express is not None) == (token == identifier)
    if identifier is None:
        return
    request = decode(frame)
    assert patron_identifier(request) == identifier
    assert not is_ambiguous(frame, request)
    general = put_patron_identifier(fill_language(request), cardnumber)
    swap = ExpressSwap(identifier, cardnumber, identifier)
    assert swap.to_acs(frame) == encode(seal(general, request.sequence))
    assert fill_language(request) is request, "a plastic card's request passes untouched"


@given(
    frames([b"64", b"24", b"12", b"30", b"16", b"38", b"26", b"66"]), st.sampled_from([TOKEN, b"****", CARD])
)
@example(sealed(ANSWER), TOKEN)
def test_an_answer_comes_back_as_on_the_general_way(frame, shown):
    answers_to = {spec.response: code for code, spec in REQUESTS.items() if code not in {b"01", b"35"}}
    swap = ExpressSwap.for_patron(TOKEN, CARD, shown)
    if frame[:2] == b"66" or swap is None:
        return
    request = sealed(answers_to[frame[:2]], 3)
    express = swap.to_kiosk(frame, request)
    if not is_usual_answer(frame, request):
        assert express is None
        return
    answer = decode(frame)
    assert answer.sequence == 3
    if express is not None:
        assert not names_another_patron(answer, CARD)
        general = restore_patron_identifier(drop_other_patrons(answer, CARD), CARD, shown)
        assert express == encode(seal(general, 3))
    view = FrameView(frame)
    assert view.code == answer.code
    for field_id in (b"AA", b"AO", b"AF", b"AY", b"AZ", b"PI", b"ZZ"):
        assert view.value(field_id) == answer.value(field_id)
    for name in answer.spec.slices:
        assert view.fixed_field(name) == answer.fixed_field(name)


def test_the_usual_messages_are_taken():
    request, answer = sealed(REQUEST), sealed(ANSWER)
    assert patron_of(request) == TOKEN
    swap = ExpressSwap.for_patron(TOKEN, CARD, TOKEN)
    assert swap.to_acs(request) == sealed(REQUEST.replace(TOKEN, CARD))
    assert is_usual_answer(answer, request)
    assert swap.to_kiosk(answer, request) == sealed(ANSWER.replace(CARD, TOKEN))


@pytest.mark.parametrize("cardnumber", [b"edna", b"S1", b"98"])
def test_a_card_number_that_could_hide_is_left_to_the_general_way(cardnumber):
    assert ExpressSwap.for_patron(TOKEN, cardnumber, TOKEN) is None


@given(st.binary(max_size=2000))
@example(b"\xff" * 256)
@example(b"\xff" * 257)
def test_the_sum_is_the_sum(data):
    assert byte_sum(data) == sum(data)


@given(
    st.lists(st.lists(st.sampled_from([b"63", b"\r", b"\n", b"\r\n", b"x" * 20])).map(b"".join), max_size=6),
    st.sampled_from(Terminator),
)
def test_a_whole_frame_is_what_the_buffer_gives(pieces, terminator):
    express, general = FrameBuffer(terminator), FrameBuffer(terminator)
    for data in filter(None, pieces):
        whole = express.whole_frame(data)
        assert (express.receive(data) if whole is None else [whole]) == general.receive(data)
