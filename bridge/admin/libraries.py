"""The pages for administrators: a library's settings, its terminals and its staff.

A token or password that was made is shown on the answer to the form that asked for it, and never again:
it stands in no address, no cookie and no log.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import abort, flash, redirect, request, url_for
from flask_admin import expose
from flask_babel import format_time, gettext

from bridge.admin.base import signed_in_librarian
from bridge.admin.consent import texts_of
from bridge.admin.forms import (
    AddLibrarianForm,
    AddLibrarianWithKohaForm,
    AddTerminalForm,
    ConsentForm,
    KohaAccountForm,
    RemoveTerminalForm,
    RoleForm,
)
from bridge.admin.library_list import LibraryList
from bridge.admin.policies import in_words
from bridge.admin.terminal_state import describe_sighting
from bridge.admin.words import CONSENT_LANGUAGES, LIBRARIAN_ROLES, PROBLEMS, TERMINAL_KINDS
from bridge.errors import (
    ConsentChanged,
    KohaAccountNotFound,
    KohaAccountTaken,
    KohaNotReachable,
    KohaPermissionMissing,
)
from bridge.links.consent import points_of, read_text, standard_wording
from bridge.models import ConsentLanguage, LibrarianRole, TerminalKind

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from bridge.accounts.staff import StaffMember
    from bridge.administration import AdministrationService, LibraryOverview
    from bridge.links.consent import ConsentWording
    from bridge.links.consent_service import ConsentInForce
    from bridge.models import Librarian, Terminal

FORM_PAGES = frozenset({"libraries.add_terminal", "libraries.add_librarian"})


class LibrariesView(LibraryList):
    """The libraries that somebody administers, and all pages of each."""

    addresses = LibraryList.addresses | {
        "library",
        "consent",
        "consent_version",
        "add_terminal",
        "remove_terminal",
        "enrol_terminal",
        "add_librarian",
        "staff",
        "disable",
        "enable",
        "unlock",
        "reset_password",
        "reset_second_factor",
        "use_koha_password",
    }

    @property
    def _administration(self) -> AdministrationService:
        return self.services.administration

    @expose("/<library_id>/")
    def library(self, library_id: str) -> ResponseReturnValue:
        """Show one library: terminals, staff, settings."""
        return self._library_page(self._overview(library_id))

    @expose("/<library_id>/consent", methods=("GET", "POST"))
    def consent(self, library_id: str) -> ResponseReturnValue:
        """Show to what patrons agree; let it be changed, after old and new were seen beside each other."""
        library = self._overview(library_id)
        in_force = self._administration.consent(signed_in_librarian(), library_id)
        form = ConsentForm(
            data={
                "japanese": in_force.wording.texts[ConsentLanguage.JAPANESE],
                "english": in_force.wording.texts[ConsentLanguage.ENGLISH],
                "instead_of": in_force.wording.version,
            }
        )
        if not form.validate_on_submit():
            return self._consent_page(library, form, in_force)
        if form.instead_of.data != in_force.wording.version:
            return self._overtaken_page(library, form)
        if not form.confirmed.data:
            return self._comparison_page(library, form, in_force.wording)
        try:
            changed = self._administration.change_consent(
                signed_in_librarian(), library_id, form.texts, instead_of=form.instead_of.data
            )
        except ConsentChanged:
            return self._overtaken_page(library, form)
        flash(gettext("The wording of %(version)s is in force.", version=changed.version), "success")
        return redirect(url_for("libraries.consent", library_id=library_id), code=HTTPStatus.SEE_OTHER)

    @expose("/<library_id>/consent/<version>")
    def consent_version(self, library_id: str, version: str) -> ResponseReturnValue:
        """Show a wording, word for word."""
        wording = self._administration.find_consent(signed_in_librarian(), library_id, version)
        return self.render(
            "bridge/consent_wording.html",
            wording=wording,
            texts=texts_of(wording),
            back=url_for("libraries.consent", library_id=library_id),
        )

    @expose("/<library_id>/terminals/add", methods=("GET", "POST"))
    def add_terminal(self, library_id: str) -> ResponseReturnValue:
        """Add a terminal; show its token once."""
        library = self._overview(library_id)
        form = AddTerminalForm()
        if not form.validate_on_submit():
            return self.render("bridge/add.html", library=library, form=form, title=gettext("Add a terminal"))
        issued = self._administration.add_terminal(
            signed_in_librarian(),
            library_id,
            terminal_id=form.terminal_id.data,
            name=form.name.data,
            kind=TerminalKind(form.kind.data),
            sip2_login=form.sip2_login.data or None,
        )
        return self.render(
            "bridge/issued.html",
            library=library,
            title=gettext("The terminal %(name)s was added.", name=issued.terminal.name),
            secret_name=gettext("Token for the reader program"),
            secret=issued.token,
        )

    @expose("/<library_id>/terminals/<terminal_id>/remove", methods=("GET", "POST"))
    def remove_terminal(self, library_id: str, terminal_id: str) -> ResponseReturnValue:
        """Ask whether it is meant; remove a terminal."""
        library = self._overview(library_id)
        terminal = self._terminal(library, terminal_id)
        form = RemoveTerminalForm()
        if not form.validate_on_submit():
            return self.render("bridge/remove_terminal.html", library=library, form=form, terminal=terminal)
        self._administration.remove_terminal(signed_in_librarian(), library_id, terminal_id)
        flash(gettext("The terminal is removed. Its token is worth nothing any more."), "success")
        return self._back_to(library_id)

    @expose("/<library_id>/terminals/<terminal_id>/enrol", methods=("GET", "POST"))
    def enrol_terminal(self, library_id: str, terminal_id: str) -> ResponseReturnValue:
        """Say what enrolling does; draw a code and show it once."""
        library = self._overview(library_id)
        if request.method == "GET":
            terminal = self._terminal(library, terminal_id)
            return self.render("bridge/enrol_terminal.html", library=library, terminal=terminal)
        drawn = self._administration.draw_enrolment_code(signed_in_librarian(), library_id, terminal_id)
        return self.render(
            "bridge/issued.html",
            library=library,
            title=gettext("Enrol %(name)s", name=drawn.terminal.name),
            secret_name=gettext("Enrolment code"),
            secret=drawn.code.grouped(),
            note=gettext(
                "Good once, until %(time)s. Type it at the terminal, where the reader program asks for it.",
                time=format_time(drawn.expires_at, "short"),
            ),
        )

    @expose("/<library_id>/staff/add", methods=("GET", "POST"))
    def add_librarian(self, library_id: str) -> ResponseReturnValue:
        """Add a member of staff; show the password once."""
        library = self._overview(library_id)
        form = AddLibrarianWithKohaForm() if library.has_koha_sign_in else AddLibrarianForm()
        if not form.validate_on_submit():
            return self.render(
                "bridge/add.html", library=library, form=form, title=gettext("Add a staff account")
            )
        account = {
            "login_name": form.login_name.data,
            "display_name": form.display_name.data,
            "role": LibrarianRole(form.role.data),
        }
        koha_patron_id = form.data.get("koha_patron_id")
        if koha_patron_id is not None:
            added = self._administration.add_librarian_of_koha(
                signed_in_librarian(), library_id, **account, koha_patron_id=koha_patron_id
            )
            flash(
                gettext("%(name)s was added, and signs in with Koha's password.", name=added.display_name),
                "success",
            )
            return self._back_to(library_id)
        issued = self._administration.add_librarian(signed_in_librarian(), library_id, **account)
        return self._password_page(library, issued.librarian, issued.password)

    @expose("/<library_id>/staff/<librarian_id>", methods=("GET", "POST"))
    def staff(self, library_id: str, librarian_id: str) -> ResponseReturnValue:
        """Show one account and what can be done with it; change its role."""
        library = self._overview(library_id)
        member = self._member(library, librarian_id)
        form = RoleForm(data={"role": member.librarian.role.value})
        if not form.validate_on_submit():
            return self._staff_page(library, member, form, KohaAccountForm(formdata=None))
        changed = self._administration.change_role(
            signed_in_librarian(), library_id, librarian_id, LibrarianRole(form.role.data)
        )
        flash(
            gettext(
                "The role of %(name)s was changed from %(before)s to %(after)s.",
                name=changed.display_name,
                before=LIBRARIAN_ROLES[member.librarian.role],
                after=LIBRARIAN_ROLES[changed.role],
            ),
            "success",
        )
        return self._back_to(library_id)

    @expose("/<library_id>/staff/<librarian_id>/disable", methods=("POST",))
    def disable(self, library_id: str, librarian_id: str) -> ResponseReturnValue:
        """Close an account."""
        self._administration.disable(signed_in_librarian(), library_id, librarian_id)
        flash(gettext("The account is closed; who was logged in with it is logged out."), "success")
        return self._back_to(library_id)

    @expose("/<library_id>/staff/<librarian_id>/enable", methods=("POST",))
    def enable(self, library_id: str, librarian_id: str) -> ResponseReturnValue:
        """Open a closed account again."""
        self._administration.enable(signed_in_librarian(), library_id, librarian_id)
        flash(gettext("The account is open again."), "success")
        return self._back_to(library_id)

    @expose("/<library_id>/staff/<librarian_id>/unlock", methods=("POST",))
    def unlock(self, library_id: str, librarian_id: str) -> ResponseReturnValue:
        """Unlock an account."""
        self._administration.unlock(signed_in_librarian(), library_id, librarian_id)
        flash(gettext("The account is unlocked."), "success")
        return self._back_to(library_id)

    @expose("/<library_id>/staff/<librarian_id>/password", methods=("POST",))
    def reset_password(self, library_id: str, librarian_id: str) -> ResponseReturnValue:
        """Make a new password; show it once."""
        issued = self._administration.reset_password(signed_in_librarian(), library_id, librarian_id)
        return self._password_page(self._overview(library_id), issued.librarian, issued.password)

    @expose("/<library_id>/staff/<librarian_id>/koha", methods=("POST",))
    def use_koha_password(self, library_id: str, librarian_id: str) -> ResponseReturnValue:
        """Let an account sign in with Koha's password."""
        library = self._overview(library_id)
        member, form = self._member(library, librarian_id), KohaAccountForm()
        role = RoleForm(formdata=None, data={"role": member.librarian.role.value})
        if not form.validate_on_submit():
            return self._staff_page(library, member, role, form)
        try:
            changed = self._administration.use_koha_password(
                signed_in_librarian(), library_id, librarian_id, form.koha_patron_id.data
            )
        except (KohaAccountTaken, KohaAccountNotFound, KohaPermissionMissing, KohaNotReachable) as refused:
            form.koha_patron_id.errors = [PROBLEMS[refused.slug]]
            return self._staff_page(library, member, role, form)
        flash(
            gettext(
                "%(name)s signs in with Koha's password from now on, and is logged out.",
                name=changed.display_name,
            ),
            "success",
        )
        return self._back_to(library_id)

    @expose("/<library_id>/staff/<librarian_id>/second-factor", methods=("POST",))
    def reset_second_factor(self, library_id: str, librarian_id: str) -> ResponseReturnValue:
        """Take somebody's second factor away."""
        self._administration.reset_second_factor(signed_in_librarian(), library_id, librarian_id)
        flash(
            gettext("The second factor is reset; who was logged in with the account is logged out."),
            "success",
        )
        return self._back_to(library_id)

    def _consent_page(self, library: LibraryOverview, form: ConsentForm, in_force: ConsentInForce) -> str:
        return self.render(
            "bridge/consent.html",
            library=library,
            form=form,
            in_force=in_force,
            own=self._administration.own_consents(signed_in_librarian(), library.library_id),
            standard=standard_wording(),
        )

    def _overtaken_page(self, library: LibraryOverview, form: ConsentForm) -> str:
        """Say that somebody else was quicker; what was typed still stands, for the wording in force now."""
        flash(str(PROBLEMS[ConsentChanged.slug]), "danger")
        in_force = self._administration.consent(signed_in_librarian(), library.library_id)
        form.instead_of.data = in_force.wording.version
        return self._consent_page(library, form, in_force)

    def _comparison_page(self, library: LibraryOverview, form: ConsentForm, before: ConsentWording) -> str:
        changes = [
            (
                language,
                str(words),
                before.points(language),
                points_of(read_text(form.texts[language], language)),
            )
            for language, words in CONSENT_LANGUAGES.items()
        ]
        return self.render("bridge/consent_change.html", library=library, form=form, changes=changes)

    def _overview(self, library_id: str) -> LibraryOverview:
        return self._administration.library(signed_in_librarian(), library_id)

    @staticmethod
    def _terminal(library: LibraryOverview, terminal_id: str) -> Terminal:
        terminal = next((each for each in library.terminals if each.terminal_id == terminal_id), None)
        return terminal or abort(HTTPStatus.NOT_FOUND)

    @staticmethod
    def _member(library: LibraryOverview, librarian_id: str) -> StaffMember:
        member = next((each for each in library.staff if each.librarian.librarian_id == librarian_id), None)
        return member or abort(HTTPStatus.NOT_FOUND)

    def _staff_page(
        self, library: LibraryOverview, member: StaffMember, form: RoleForm, koha_form: KohaAccountForm
    ) -> str:
        return self.render(
            "bridge/staff.html",
            library=library,
            member=member,
            form=form,
            koha_form=koha_form,
            is_own=member.librarian.librarian_id == signed_in_librarian().librarian_id,
        )

    def _library_page(self, library: LibraryOverview) -> str:
        return self.render(
            "bridge/library.html",
            library=library,
            roles=LIBRARIAN_ROLES,
            kinds=TERMINAL_KINDS,
            sightings={
                terminal.terminal_id: describe_sighting(
                    terminal.last_seen_at, terminal.report, self.services.clock()
                )
                for terminal in library.terminals
            },
            policies=() if library.policies is None else tuple(in_words(library.policies)),
            settings={name: shown(value) for name, value in library.settings.items()},
        )

    def _password_page(self, library: LibraryOverview, librarian: Librarian, password: str) -> str:
        return self.render(
            "bridge/issued.html",
            library=library,
            title=gettext("Log-in for %(name)s", name=librarian.display_name),
            login_name=librarian.login_name,
            secret_name=gettext("Password"),
            secret=password,
        )

    @staticmethod
    def _back_to(library_id: str) -> ResponseReturnValue:
        return redirect(url_for("libraries.library", library_id=library_id), code=HTTPStatus.SEE_OTHER)

    def refuge(self) -> str:
        """After a refusal, go on at the form that was refused, else at the list of libraries."""
        was_filled_in = request.method == "POST" and request.endpoint in FORM_PAGES
        return request.path if was_filled_in else url_for("libraries.index_view")


def shown(value: object) -> str:
    """Return a setting as it stands in the settings file, but for the quotes of a text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
