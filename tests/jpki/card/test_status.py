import pytest

from jpki.errors import CardError, InvalidPinError, PinBlockedError
from jpki.status import StatusWord, attempts_in, error_for


@pytest.mark.parametrize("attempts", range(1, 16))
def test_63cx_is_a_wrong_pin_with_x_attempts_remaining(attempts):
    error = error_for(0x63C0 | attempts)
    assert type(error) is InvalidPinError
    assert error.attempts_remaining == attempts
    assert error.status_word == 0x63C0 | attempts


@pytest.mark.parametrize("status_word", [0x63C0, 0x6983, 0x6984], ids=hex)
def test_three_status_words_mean_a_blocked_pin(status_word):
    error = error_for(status_word)
    assert type(error) is PinBlockedError
    assert error.status_word == status_word


@pytest.mark.parametrize("status_word", [0x6300, 0x6982, 0x6A82, 0x6F00, 0x0000, 0xFFFF], ids=hex)
def test_any_other_is_a_card_error_with_its_status_word(status_word):
    error = error_for(status_word)
    assert type(error) is CardError
    assert error.status_word == status_word
    assert f"{status_word:04X}" in str(error)


def test_every_status_word_there_can_be_is_a_card_error_with_its_number():
    for status_word in range(0x10000):
        error = error_for(status_word)
        assert isinstance(error, CardError)
        assert error.status_word == status_word


def test_only_63cx_tells_attempts():
    assert attempts_in(0x63C0) == 0
    assert attempts_in(0x63C3) == 3
    assert attempts_in(0x6300) is None
    assert attempts_in(StatusWord.SUCCESS) is None
