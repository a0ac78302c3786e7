"""The admin's forms. A POST without fields needs none: ``CSRFProtect`` asks every POST for its token."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from flask_babel import lazy_gettext
from flask_wtf import FlaskForm
from wtforms import BooleanField, HiddenField, PasswordField, RadioField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, Length, Regexp

from bridge.admin.words import LANGUAGES, UNLINK_REASONS

CARDNUMBER_LENGTH = 32
"""Koha's ``borrowers.cardnumber`` is varchar(32)."""


def half_width(value: str | None) -> str | None:
    """Return what was meant where a Japanese input method typed full-width digits (１２３)."""
    return value and unicodedata.normalize("NFKC", value).strip()


def choices(words: Mapping[str, object]) -> list[SelectChoice]:
    """Return the choices of a field from a table of words."""
    return [SelectChoice(value, label) for value, label in words.items()]


class LogInForm(FlaskForm):
    """Log-in name and password."""

    login_name = StringField(
        lazy_gettext("Log-in name"),
        filters=[half_width],
        validators=[DataRequired(lazy_gettext("Please enter your log-in name.")), Length(max=64)],
        render_kw={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"},
    )
    password = PasswordField(
        lazy_gettext("Password"),
        validators=[DataRequired(lazy_gettext("Please enter your password.")), Length(max=1024)],
        render_kw={"autocomplete": "current-password"},
    )


class LanguageForm(FlaskForm):
    """The language of the screens."""

    language = RadioField(choices=choices(LANGUAGES))


NOT_A_CARDNUMBER = lazy_gettext("This is not a library card number.")

CARDNUMBER_VALIDATORS = (
    DataRequired(lazy_gettext("Please scan or type the library card number.")),
    Length(max=CARDNUMBER_LENGTH, message=NOT_A_CARDNUMBER),
    Regexp(r"^[!-~]+$", message=NOT_A_CARDNUMBER),
)


class CardnumberForm(FlaskForm):
    """The library card number, scanned or typed."""

    cardnumber = StringField(
        lazy_gettext("Library card number"),
        filters=[half_width],
        validators=CARDNUMBER_VALIDATORS,
        render_kw={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"},
    )


class StartLinkForm(FlaskForm):
    """The order to link the next card at one counter terminal to the patron shown."""

    cardnumber = HiddenField(filters=[half_width], validators=CARDNUMBER_VALIDATORS)
    terminal_id = RadioField(
        lazy_gettext("Counter terminal"),
        validators=[DataRequired(lazy_gettext("Please choose the counter terminal."))],
    )


class UnlinkForm(FlaskForm):
    """Why a link is ended, and that it is meant."""

    reason = RadioField(
        lazy_gettext("Reason"),
        choices=choices(UNLINK_REASONS),
        validators=[DataRequired(lazy_gettext("Please choose a reason."))],
    )
    confirmed = BooleanField(
        lazy_gettext("Yes, end this link. The patron can no longer borrow with the My Number Card."),
        validators=[DataRequired(lazy_gettext("Please confirm that the link shall end."))],
    )
