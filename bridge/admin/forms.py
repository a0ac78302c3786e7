"""The admin's forms. A POST without fields needs none: ``CSRFProtect`` asks every POST for its token."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from flask_babel import lazy_gettext
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    DateField,
    HiddenField,
    IntegerField,
    PasswordField,
    RadioField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.fields.choices import SelectChoice
from wtforms.validators import (
    DataRequired,
    EqualTo,
    InputRequired,
    Length,
    NumberRange,
    Optional,
    Regexp,
    ValidationError,
)
from wtforms.widgets import CheckboxInput, ListWidget

from bridge.accounts.own_account import MAXIMUM_PASSWORD_LENGTH, MINIMUM_PASSWORD_LENGTH
from bridge.accounts.staff import IDENTIFIER_PATTERN, MAXIMUM_NAME_LENGTH
from bridge.admin.words import (
    APPROVAL_REASONS,
    BULK_UNLINK_REASONS,
    CONSENT_LANGUAGES,
    CONSENT_PROBLEMS,
    DECLINE_REASONS,
    LANGUAGES,
    LIBRARIAN_ROLES,
    PROBLEMS,
    REPRESENTATIVE_CHECKS,
    SUSPENSION_REASONS,
    TERMINAL_KINDS,
    UNLINK_REASONS,
)
from bridge.errors import ConsentUnfit
from bridge.links.consent import read_text
from bridge.models import ConsentLanguage, LibrarianRole, Representation, RepresentativeCheck, TerminalKind
from bridge.rules import STAFF_SUSPENSIONS, DenialReason
from bridge.statistics import possible_period

CARDNUMBER_LENGTH = 32
"""Koha's ``borrowers.cardnumber`` is varchar(32)."""


def half_width(value: str | None) -> str | None:
    """Return what was meant where a Japanese input method typed full-width digits (１２３)."""
    return value and unicodedata.normalize("NFKC", value).strip()


def without_spaces(value: str | None) -> str | None:
    """Return a code as it is meant: apps show it in two groups."""
    return value and "".join(value.split())


def choices(words: Mapping[str, object]) -> list[SelectChoice]:
    """Return the choices of a field from a table of words."""
    return [SelectChoice(value, label) for value, label in words.items()]


class LogInForm(FlaskForm):
    """Log-in name and password."""

    login_name = StringField(
        lazy_gettext("Log-in name"),
        filters=[half_width],
        validators=[
            DataRequired(lazy_gettext("Please enter your log-in name.")),
            Length(max=MAXIMUM_NAME_LENGTH),
        ],
        render_kw={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"},
    )
    password = PasswordField(
        lazy_gettext("Password"),
        validators=[DataRequired(lazy_gettext("Please enter your password.")), Length(max=1024)],
        render_kw={"autocomplete": "current-password"},
    )


class CodeForm(FlaskForm):
    """The code that an authenticator app shows."""

    code = StringField(
        lazy_gettext("Code of the app (6 digits)"),
        filters=[half_width, without_spaces],
        validators=[
            DataRequired(lazy_gettext("Please enter the code.")),
            Regexp(r"^[0-9]{6}$", message=lazy_gettext("A code has six digits.")),
        ],
        render_kw={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"},
    )


class DeskLogInForm(LogInForm):
    """Log-in name and password in one with the code, for who has a second factor."""

    code = StringField(
        lazy_gettext("Code of the app (if you have set one up)"),
        filters=[half_width, without_spaces],
        validators=[Optional(), Regexp(r"^[0-9]{6}$", message=lazy_gettext("A code has six digits."))],
        render_kw={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"},
    )


class OwnPasswordForm(FlaskForm):
    """The own password, asked for again."""

    password = PasswordField(
        lazy_gettext("Password"),
        validators=[DataRequired(lazy_gettext("Please enter your password.")), Length(max=1024)],
        render_kw={"autocomplete": "current-password"},
    )


class ChangePasswordForm(FlaskForm):
    """A new password for the own account."""

    current = PasswordField(
        lazy_gettext("Present password"),
        validators=[DataRequired(lazy_gettext("Please enter your password.")), Length(max=1024)],
        render_kw={"autocomplete": "current-password"},
    )
    new = PasswordField(
        lazy_gettext("New password (at least 12 characters)"),
        validators=[
            DataRequired(lazy_gettext("Please fill in this field.")),
            Length(
                min=MINIMUM_PASSWORD_LENGTH,
                max=MAXIMUM_PASSWORD_LENGTH,
                message=lazy_gettext("The new password must have at least 12 characters."),
            ),
        ],
        render_kw={"autocomplete": "new-password"},
    )
    again = PasswordField(
        lazy_gettext("New password once more"),
        validators=[EqualTo("new", lazy_gettext("The two new passwords are not the same."))],
        render_kw={"autocomplete": "new-password"},
    )


class PeriodForm(FlaskForm):
    """From which day to which. It changes nothing and asks by GET, so it needs no token."""

    class Meta(FlaskForm.Meta):
        """What Flask-WTF is told of this form."""

        csrf = False

    first = DateField(lazy_gettext("From"), validators=[DataRequired(lazy_gettext("Please enter a day."))])
    last = DateField(lazy_gettext("To"), validators=[DataRequired(lazy_gettext("Please enter a day."))])

    def validate_last(self, field: DateField) -> None:
        """Refuse a period that runs backwards, or is longer than a year."""
        if self.first.data and field.data and not possible_period(self.first.data, field.data):
            raise ValidationError(lazy_gettext("The period must not run backwards, and be a year at most."))


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


FURTHER_CARD = ""
"""The choice of a link that takes no other's place."""

REPRESENTATION_INCOMPLETE = PROBLEMS[DenialReason.REPRESENTATION_INCOMPLETE]


class StartLinkForm(FlaskForm):
    """The order to link the next card at one counter terminal to the patron shown."""

    cardnumber = HiddenField(filters=[half_width], validators=CARDNUMBER_VALIDATORS)
    terminal_id = RadioField(
        lazy_gettext("Counter terminal"),
        validators=[DataRequired(lazy_gettext("Please choose the counter terminal."))],
    )
    consent_version = HiddenField(validators=[DataRequired()])
    consented = BooleanField(
        lazy_gettext("The patron has read this and agrees."),
        validators=[DataRequired(lazy_gettext("Without the patron's consent no card is linked."))],
    )
    replaces = RadioField(lazy_gettext("This card"), default=FURTHER_CARD, choices=[], validate_choice=False)
    represented = BooleanField(lazy_gettext("A legal representative links the card of a child under 15."))
    checks = SelectMultipleField(
        lazy_gettext("What was checked"),
        choices=choices(REPRESENTATIVE_CHECKS),
        option_widget=CheckboxInput(),
        widget=ListWidget(prefix_label=False),
    )
    fifteenth_birthday = DateField(lazy_gettext("The child's 15th birthday"), validators=[Optional()])

    def validate_represented(self, field: BooleanField) -> None:
        """Ask for every point and the birthday, where a representative acts."""
        everything = frozenset(REPRESENTATIVE_CHECKS)
        if field.data and (
            self.fifteenth_birthday.data is None or frozenset(self.checks.data or ()) != everything
        ):
            raise ValidationError(REPRESENTATION_INCOMPLETE)

    @property
    def replaced_link(self) -> str | None:
        """The link whose place the new one takes."""
        return self.replaces.data or None

    @property
    def representation(self) -> Representation | None:
        """What was checked of a representative; None where the patron acts in person."""
        if not self.represented.data:
            return None
        checks = frozenset(RepresentativeCheck(check) for check in self.checks.data)
        return Representation(self.fifteenth_birthday.data, checks)


class ChooseTerminalForm(FlaskForm):
    """At which counter terminal this browser stands."""

    terminal_id = RadioField(
        lazy_gettext("Counter terminal"),
        validators=[DataRequired(lazy_gettext("Please choose the counter terminal."))],
    )


class RestoreForm(FlaskForm):
    """The order to let a suspended link of the patron shown be used again."""

    cardnumber = HiddenField(filters=[half_width], validators=CARDNUMBER_VALIDATORS)
    link_id = HiddenField(validators=[DataRequired()])


class LostCardForm(FlaskForm):
    """The order to end every link of the patron shown: the My Number Card is lost."""

    cardnumber = HiddenField(filters=[half_width], validators=CARDNUMBER_VALIDATORS)
    confirmed = BooleanField(
        lazy_gettext("Yes, end every link of this patron at once, at every terminal."),
        validators=[DataRequired(lazy_gettext("Please confirm that the links shall end."))],
    )


class SuspendForm(FlaskForm):
    """Why a link shall rest."""

    reason = RadioField(
        lazy_gettext("Reason"),
        choices=[
            SelectChoice(reason, words)
            for reason, words in SUSPENSION_REASONS.items()
            if reason in STAFF_SUSPENSIONS
        ],
        validators=[DataRequired(lazy_gettext("Please choose a reason."))],
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


class EndSeveralForm(FlaskForm):
    """Why several links are to end, and that it is meant."""

    reason = RadioField(
        lazy_gettext("Reason"),
        choices=choices(BULK_UNLINK_REASONS),
        validators=[DataRequired(lazy_gettext("Please choose a reason."))],
    )
    confirmed = BooleanField(
        lazy_gettext("Yes, end these links. These patrons can no longer borrow with the My Number Card."),
        validators=[DataRequired(lazy_gettext("Please confirm that the links shall end."))],
    )


class ApproveForm(EndSeveralForm):
    """Why a second person lets several links end, and that it is meant."""

    reason = RadioField(
        lazy_gettext("Reason for the approval"),
        choices=choices(APPROVAL_REASONS),
        validators=[DataRequired(lazy_gettext("Please choose a reason."))],
    )


class DeclineForm(FlaskForm):
    """Why a second person does not let several links end."""

    reason = RadioField(
        lazy_gettext("Reason for declining"),
        choices=choices(DECLINE_REASONS),
        validators=[DataRequired(lazy_gettext("Please choose a reason."))],
    )


NOT_AN_ID = lazy_gettext("Letters, digits, dot, hyphen and underscore only, at most 64.")

ID_VALIDATORS = (
    DataRequired(lazy_gettext("Please fill in this field.")),
    Regexp(rf"^{IDENTIFIER_PATTERN}$", message=NOT_AN_ID),
)

NAME_VALIDATORS = (DataRequired(lazy_gettext("Please fill in this field.")), Length(max=MAXIMUM_NAME_LENGTH))


class AddTerminalForm(FlaskForm):
    """A new terminal. A self-check machine has a SIP2 log-in, a counter none."""

    terminal_id = StringField(
        lazy_gettext("Terminal id"),
        filters=[half_width],
        validators=ID_VALIDATORS,
        render_kw={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"},
    )
    name = StringField(lazy_gettext("Name"), validators=NAME_VALIDATORS, render_kw={"autocomplete": "off"})
    kind = RadioField(
        lazy_gettext("Kind"),
        choices=choices(TERMINAL_KINDS),
        validators=[DataRequired(lazy_gettext("Please choose a kind."))],
    )
    sip2_login = StringField(
        lazy_gettext("SIP2 log-in (self-check machines only)"),
        filters=[half_width],
        validators=[Length(max=MAXIMUM_NAME_LENGTH)],
        render_kw={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"},
    )

    def validate_sip2_login(self, field: StringField) -> None:
        """Ask for the SIP2 log-in of a self-check machine, and of nothing else."""
        if (self.kind.data == TerminalKind.SELF_CHECK) != bool(field.data):
            raise ValidationError(
                lazy_gettext("A self-check machine needs its SIP2 log-in, a counter has none.")
            )


ROLE_CHOICES = choices(
    {role: words for role, words in LIBRARIAN_ROLES.items() if not LibrarianRole(role).is_region_wide}
)


class RoleForm(FlaskForm):
    """The role of a library's member of staff."""

    role = RadioField(
        lazy_gettext("Role"),
        choices=ROLE_CHOICES,
        validators=[DataRequired(lazy_gettext("Please choose a role."))],
    )


class AddLibrarianForm(RoleForm):
    """A new account."""

    login_name = StringField(
        lazy_gettext("Log-in name"),
        filters=[half_width],
        validators=ID_VALIDATORS,
        render_kw={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"},
    )
    display_name = StringField(
        lazy_gettext("Name on screens"), validators=NAME_VALIDATORS, render_kw={"autocomplete": "off"}
    )


class ConsentForm(FlaskForm):
    """A library's own wording of the consent. ``instead_of`` is the version that it takes the place of.

    It is put in force where ``confirmed``, after old and new have been shown beside each other.
    """

    japanese = TextAreaField(
        CONSENT_LANGUAGES[ConsentLanguage.JAPANESE], render_kw={"rows": 18, "lang": "ja"}
    )
    english = TextAreaField(CONSENT_LANGUAGES[ConsentLanguage.ENGLISH], render_kw={"rows": 18, "lang": "en"})
    instead_of = HiddenField(validators=[DataRequired()])
    confirmed = HiddenField()

    @property
    def texts(self) -> Mapping[ConsentLanguage, str]:
        """The wording in both languages, as it was typed."""
        return {
            ConsentLanguage.JAPANESE: self.japanese.data or "",
            ConsentLanguage.ENGLISH: self.english.data or "",
        }

    def validate_japanese(self, field: TextAreaField) -> None:
        """Ask for a wording."""
        _require_wording(field, ConsentLanguage.JAPANESE)

    def validate_english(self, field: TextAreaField) -> None:
        """Ask for a wording."""
        _require_wording(field, ConsentLanguage.ENGLISH)


def _require_wording(field: TextAreaField, language: ConsentLanguage) -> None:
    try:
        read_text(field.data or "", language)
    except ConsentUnfit as error:
        raise ValidationError(CONSENT_PROBLEMS[error.problem]) from None


BORROWERNUMBER_LIMITS = NumberRange(1, 2**31 - 1, lazy_gettext("A borrowernumber is a whole number from 1."))


class KohaAccountForm(FlaskForm):
    """Whose password in Koha an account is to sign in with."""

    koha_patron_id = IntegerField(
        lazy_gettext("borrowernumber of the same person in Koha"),
        validators=[
            InputRequired(lazy_gettext("Please fill in this field.")),
            BORROWERNUMBER_LIMITS,
        ],
        render_kw={"autocomplete": "off", "inputmode": "numeric"},
    )


class AddLibrarianWithKohaForm(AddLibrarianForm):
    """A new account where staff may sign in with Koha's password."""

    koha_patron_id = IntegerField(
        lazy_gettext("To sign in with Koha's password: borrowernumber of the same person in Koha"),
        validators=[Optional(), BORROWERNUMBER_LIMITS],
        render_kw={"autocomplete": "off", "inputmode": "numeric"},
    )


class RemoveTerminalForm(FlaskForm):
    """That it is meant."""

    confirmed = BooleanField(
        lazy_gettext("Yes, remove this terminal. Its reader stops working at once."),
        validators=[DataRequired(lazy_gettext("Please confirm that the terminal shall be removed."))],
    )
