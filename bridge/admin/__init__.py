"""The admin: log-in, the counter's workflow, and read-only lists, in Japanese and English.

``bridge.app`` calls ``init_admin``. No page needs an inline script or style, Flask-Admin's own
scripts and styles are not used, and nothing comes from another host: a Content-Security-Policy of
``default-src 'self'`` fits. ``bridge.app`` brings that header, the session cookie's flags and
``CSRFProtect``.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Blueprint, Flask
from flask_admin import Admin
from flask_admin.theme import Bootstrap4Theme
from flask_babel import Babel, lazy_gettext

from bridge.admin.account import AccountView
from bridge.admin.auth import ADMIN_URL, FrontDoor, choose_locale, enter, init_auth
from bridge.admin.bulk_unlinking import BulkUnlinkingList
from bridge.admin.dashboard import DashboardView
from bridge.admin.days import Calendar
from bridge.admin.desk_window import DeskWindow
from bridge.admin.libraries import LibrariesView
from bridge.admin.lists import (
    AuditList,
    CategoryMoveList,
    Database,
    LibrarianList,
    LinkList,
    RenewalList,
    RevocationList,
    SessionFactory,
    TerminalList,
)
from bridge.admin.views import CounterView

if TYPE_CHECKING:
    from bridge.rate_limit import RateLimit
    from bridge.services import Services

__all__ = ["Calendar", "init_admin"]

TIME_ZONE = "Asia/Tokyo"

assets = Blueprint(
    "assets",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path=f"{ADMIN_URL}/assets",
)


def init_admin(
    app: Flask,
    services: Services,
    session_factory: SessionFactory,
    *,
    idle_limit: timedelta,
    log_ins: RateLimit,
    calendar: Calendar = Calendar.BOTH,
) -> None:
    """Put the admin on *app*, under ``/admin``.

    *session_factory* is for the lists, which read the mapped classes. A session ends when its
    librarian has done nothing for *idle_limit*; *log_ins* bounds the tries of each address. *calendar* is
    for the printed application form.
    """
    if "csrf" not in app.extensions:
        raise RuntimeError("CSRFProtect must guard the application before the admin is put on it")
    # The token lives as long as its session: the idle limit is the limit.
    app.config["WTF_CSRF_TIME_LIMIT"] = None
    Babel(
        app,
        default_locale="ja",
        default_timezone=TIME_ZONE,
        default_translation_directories=str(Path(__file__).parent / "translations"),
        locale_selector=choose_locale,
    )
    app.register_blueprint(assets)
    init_auth(app, services, idle_limit, log_ins)
    admin = Admin(
        app,
        name=lazy_gettext("My Number Card desk"),
        index_view=FrontDoor(services),
        theme=Bootstrap4Theme(base_template="bridge/base.html"),
    )
    database = Database(session_factory)
    admin.add_views(
        CounterView(services, calendar),
        DashboardView(services),
        LinkList(services, database),
        RenewalList(services, database),
        BulkUnlinkingList(services, database),
        CategoryMoveList(services, database),
        TerminalList(services, database),
        RevocationList(services, database),
        AuditList(services, database),
        LibrariesView(services),
        LibrarianList(services, database),
        DeskWindow(services),
        AccountView(services, lambda librarian: enter(librarian, services.clock().timestamp())),
    )

    @app.teardown_appcontext
    def close_session(_error: BaseException | None) -> None:
        session_factory.remove()
