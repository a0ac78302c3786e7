"""Errors as ``application/problem+json`` (RFC 9457): one table, and what turns an error into a row of it.

The slug of an error comes from ``bridge.errors``; this table gives it a status and words. A title is for
the vendor's engineer and the log of the machine; what the patron reads stands in ``bridge.agent.screen``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType

from flask import Response, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from bridge.api.errors import ApiError, MalformedRequest, RequestFault, TerminalNotAuthenticated
from bridge.api.schemas import rfc3339
from bridge.errors import BridgeError, DeskClosed, PluginRefused, slug_of
from bridge.unexpected import log_unexpected
from jpki.errors import JpkiError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:koha-jpki-bridge:problem:"


@dataclass(frozen=True)
class ProblemType:
    """One kind of problem; *members* are the error's attributes that go along as data."""

    status: HTTPStatus
    title_ja: str
    title_en: str
    members: tuple[str, ...] = ()


FAULT_DETAILS: Mapping[RequestFault, tuple[str, str]] = MappingProxyType(
    {
        RequestFault.NOT_JSON: ("JSONとして読めません。", "The body is not JSON."),
        RequestFault.NOT_AN_OBJECT: ("JSONオブジェクトではありません。", "The body is not a JSON object."),
        RequestFault.REPEATED: ("同じ項目が二度あります。", "A field stands twice."),
        RequestFault.MISSING: ("必須の項目がありません。", "A required field is missing."),
        RequestFault.UNKNOWN: ("知らない項目があります。", "There is an unknown field."),
        RequestFault.WRONG_TYPE: ("項目の型が違います。", "A field has the wrong type."),
        RequestFault.NOT_ALLOWED: (
            "項目の値が決められたものではありません。",
            "A field has a value that is not allowed.",
        ),
        RequestFault.NOT_BASE64: ("項目がBase64ではありません。", "A field is not base64."),
        RequestFault.TOO_LONG: ("項目が長すぎます。", "A field is too long."),
    }
)
"""RequestFault: (Japanese, English)."""


PROBLEMS: Mapping[str, ProblemType] = MappingProxyType(
    {
        # the request itself
        "malformed-request": ProblemType(
            HTTPStatus.BAD_REQUEST, "要求の形式が正しくありません", "Malformed request", ("fault", "field")
        ),
        "terminal-not-authenticated": ProblemType(
            HTTPStatus.UNAUTHORIZED, "端末を確認できません", "Terminal not authenticated"
        ),
        "not-found": ProblemType(HTTPStatus.NOT_FOUND, "該当するものがありません", "Not found"),
        "method-not-allowed": ProblemType(
            HTTPStatus.METHOD_NOT_ALLOWED, "このメソッドは使えません", "Method not allowed"
        ),
        "request-too-large": ProblemType(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "要求が大きすぎます", "Request too large"
        ),
        "unsupported-media-type": ProblemType(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "application/jsonで送ってください", "Send application/json"
        ),
        "http-error": ProblemType(HTTPStatus.BAD_REQUEST, "要求を処理できません", "Request refused"),
        "internal-error": ProblemType(
            HTTPStatus.INTERNAL_SERVER_ERROR, "サーバー内部のエラーです", "Internal error"
        ),
        # the certificate
        "malformed-certificate": ProblemType(
            HTTPStatus.BAD_REQUEST, "電子証明書の形式が正しくありません", "Malformed certificate"
        ),
        "untrusted-issuer": ProblemType(
            HTTPStatus.FORBIDDEN, "信頼する認証局の電子証明書ではありません", "Untrusted issuer"
        ),
        "certificate-expired": ProblemType(
            HTTPStatus.FORBIDDEN, "電子証明書の有効期間が過ぎています", "Certificate expired", ("not_after",)
        ),
        "certificate-not-yet-valid": ProblemType(
            HTTPStatus.FORBIDDEN,
            "電子証明書の有効期間が始まっていません",
            "Certificate not yet valid",
            ("not_before",),
        ),
        "wrong-certificate-type": ProblemType(
            HTTPStatus.FORBIDDEN,
            "利用者証明用電子証明書ではありません",
            "Not a user authentication certificate",
        ),
        "wrong-certificate-policy": ProblemType(
            HTTPStatus.FORBIDDEN,
            "電子証明書のポリシーまたは鍵用途が違います",
            "Wrong certificate policy or key usage",
        ),
        "unsupported-algorithm": ProblemType(
            HTTPStatus.FORBIDDEN, "対応していない暗号アルゴリズムです", "Unsupported algorithm"
        ),
        "certificate-revoked": ProblemType(
            HTTPStatus.FORBIDDEN, "電子証明書は失効しています", "Certificate revoked", ("why",)
        ),
        "revocation-unknown": ProblemType(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "電子証明書の有効性を確認できません",
            "Revocation status unknown",
            ("why",),
        ),
        # the challenge and its response
        "invalid-signature": ProblemType(HTTPStatus.FORBIDDEN, "署名が正しくありません", "Invalid signature"),
        "malformed-challenge": ProblemType(
            HTTPStatus.BAD_REQUEST, "チャレンジの形式が正しくありません", "Malformed challenge"
        ),
        "challenge-unknown": ProblemType(
            HTTPStatus.NOT_FOUND, "該当するチャレンジがありません", "Challenge unknown"
        ),
        "challenge-expired": ProblemType(
            HTTPStatus.GONE, "チャレンジの有効期限が過ぎています", "Challenge expired", ("expired_at",)
        ),
        "challenge-already-used": ProblemType(
            HTTPStatus.CONFLICT, "チャレンジは既に使われています", "Challenge already used"
        ),
        "wrong-terminal": ProblemType(
            HTTPStatus.FORBIDDEN, "別の端末のチャレンジです", "Challenge of another terminal"
        ),
        "wrong-certificate": ProblemType(
            HTTPStatus.FORBIDDEN, "別の電子証明書のチャレンジです", "Challenge of another certificate"
        ),
        # links, library cards and terminals
        "already-linked": ProblemType(
            HTTPStatus.CONFLICT, "このカードは既に連携登録されています", "Card already linked"
        ),
        "not-linked": ProblemType(
            HTTPStatus.FORBIDDEN, "このカードは連携登録されていません", "Card not linked"
        ),
        "link-suspended": ProblemType(
            HTTPStatus.FORBIDDEN, "連携登録は停止中です", "Link suspended", ("why",)
        ),
        "link-ended": ProblemType(HTTPStatus.FORBIDDEN, "連携登録は終了しています", "Link ended"),
        "linked-meanwhile": ProblemType(
            HTTPStatus.CONFLICT,
            "同じ利用者に別のカードが同時に連携登録されました",
            "Another card was linked to the patron",
        ),
        "too-many-links": ProblemType(
            HTTPStatus.CONFLICT, "連携登録できるカードの数に達しています", "Too many linked cards"
        ),
        "consent-missing": ProblemType(HTTPStatus.CONFLICT, "利用者の同意がありません", "Consent missing"),
        "consent-unfit": ProblemType(
            HTTPStatus.BAD_REQUEST, "同意文面として使えません", "Not a wording of the consent"
        ),
        "consent-changed": ProblemType(
            HTTPStatus.CONFLICT, "同意文面が先に変更されました", "Wording changed meanwhile"
        ),
        "consent-not-found": ProblemType(
            HTTPStatus.NOT_FOUND, "その版の同意文面はありません", "No such wording"
        ),
        "representation-incomplete": ProblemType(
            HTTPStatus.CONFLICT, "法定代理人の確認が済んでいません", "Checks of the representative incomplete"
        ),
        "representation-over": ProblemType(
            HTTPStatus.FORBIDDEN,
            "15歳になったため本人の連携登録が必要です",
            "The owner must link the card: 15 or older",
        ),
        "link-expired": ProblemType(
            HTTPStatus.FORBIDDEN, "連携登録の期間が過ぎています", "Link has reached its greatest age"
        ),
        "retention-over": ProblemType(HTTPStatus.GONE, "記録の保存期間が過ぎています", "Retention over"),
        "step-not-possible": ProblemType(
            HTTPStatus.CONFLICT, "連携登録の今の状態ではできません", "Not possible in the link's state"
        ),
        "link-not-found": ProblemType(HTTPStatus.NOT_FOUND, "該当する連携登録がありません", "Link not found"),
        "bulk-unlinking-not-found": ProblemType(
            HTTPStatus.NOT_FOUND, "該当する一括解除の申請がありません", "No such request to end many links"
        ),
        "bulk-unlinking-over": ProblemType(
            HTTPStatus.CONFLICT, "一括解除の申請は既に終わっています", "Request to end many links is over"
        ),
        "second-person-needed": ProblemType(
            HTTPStatus.FORBIDDEN, "別の職員の承認が必要です", "A second person must approve"
        ),
        "too-many-links-at-once": ProblemType(
            HTTPStatus.CONFLICT, "一度に申請できる件数を超えています", "Too many links in one request"
        ),
        "no-link-request": ProblemType(
            HTTPStatus.CONFLICT, "この窓口では連携登録が始まっていません", "No link request at this counter"
        ),
        "link-request-pending": ProblemType(
            HTTPStatus.CONFLICT, "この窓口は既にカードを待っています", "Counter already waits for a card"
        ),
        "link-request-not-found": ProblemType(
            HTTPStatus.NOT_FOUND, "該当する連携登録の受付がありません", "Link request not found"
        ),
        "library-card-expired": ProblemType(
            HTTPStatus.FORBIDDEN, "利用者カードの有効期限が過ぎています", "Library card expired"
        ),
        "library-card-lost": ProblemType(
            HTTPStatus.FORBIDDEN, "利用者カードは紛失の届けが出ています", "Library card reported lost"
        ),
        "patron-restricted": ProblemType(
            HTTPStatus.FORBIDDEN, "利用者の利用は制限されています", "Patron restricted"
        ),
        "patron-not-found": ProblemType(HTTPStatus.NOT_FOUND, "該当する利用者がいません", "Patron not found"),
        "koha-not-reachable": ProblemType(
            HTTPStatus.SERVICE_UNAVAILABLE, "図書館システムに接続できません", "Koha not reachable"
        ),
        "patron-changed": ProblemType(
            HTTPStatus.CONFLICT, "利用者の情報が同時に変更されました", "Patron changed meanwhile"
        ),
        "category-refused": ProblemType(
            HTTPStatus.CONFLICT, "利用者区分を変更できません", "Change of category refused"
        ),
        "wrong-terminal-kind": ProblemType(
            HTTPStatus.FORBIDDEN, "この種類の端末ではできません", "Not at this kind of terminal"
        ),
        "library-not-found": ProblemType(
            HTTPStatus.NOT_FOUND, "該当する図書館がありません", "Library not found"
        ),
        "terminal-not-found": ProblemType(
            HTTPStatus.NOT_FOUND, "該当する端末がありません", "Terminal not found"
        ),
        "enrolment-code-unknown": ProblemType(
            HTTPStatus.FORBIDDEN, "その登録コードはありません", "Enrolment code unknown"
        ),
        "enrolment-code-expired": ProblemType(
            HTTPStatus.GONE, "登録コードの有効期限が過ぎています", "Enrolment code expired"
        ),
        "enrolment-code-used": ProblemType(
            HTTPStatus.CONFLICT, "登録コードは既に使われています", "Enrolment code already used"
        ),
        "enrolment-locked": ProblemType(
            HTTPStatus.TOO_MANY_REQUESTS,
            "誤った登録コードが続いたため、しばらく受け付けません",
            "Too many wrong enrolment codes",
            ("locked_until",),
        ),
        # staff and set-up; not every one is raised by a call of the API, but every refusal has its words
        "not-allowed": ProblemType(
            HTTPStatus.FORBIDDEN, "この職員にはできません", "Not allowed to this librarian"
        ),
        "plugin-not-authenticated": ProblemType(
            HTTPStatus.UNAUTHORIZED, "プラグインを確認できません", "Plugin not authenticated"
        ),
        "plugin-not-found": ProblemType(
            HTTPStatus.NOT_FOUND, "該当するプラグインがありません", "Plugin not found"
        ),
        "librarian-not-authenticated": ProblemType(
            HTTPStatus.UNAUTHORIZED,
            "ログインの有効時間が過ぎたか、職員を確認できません",
            "Librarian not authenticated, or not any more",
        ),
        "origin-not-allowed": ProblemType(
            HTTPStatus.FORBIDDEN, "このページからは使えません", "Not from a page of this origin"
        ),
        "librarian-not-found": ProblemType(
            HTTPStatus.NOT_FOUND, "該当する職員がいません", "Librarian not found"
        ),
        "second-factor-needed": ProblemType(
            HTTPStatus.UNAUTHORIZED, "確認コードが必要です", "A code is needed"
        ),
        "second-factor-refused": ProblemType(HTTPStatus.UNAUTHORIZED, "確認コードが違います", "Code refused"),
        "password-refused": ProblemType(HTTPStatus.FORBIDDEN, "パスワードが違います", "Password refused"),
        "password-unfit": ProblemType(
            HTTPStatus.UNPROCESSABLE_ENTITY, "そのパスワードは使えません", "Password not accepted"
        ),
        "log-in-failed": ProblemType(HTTPStatus.UNAUTHORIZED, "ログインできません", "Log-in failed"),
        "password-of-koha": ProblemType(
            HTTPStatus.CONFLICT, "Kohaのパスワードです", "The password is Koha's"
        ),
        "password-not-checked": ProblemType(
            HTTPStatus.SERVICE_UNAVAILABLE, "パスワードを確認できません", "Password could not be checked"
        ),
        "koha-sign-in-off": ProblemType(
            HTTPStatus.CONFLICT, "Kohaのパスワードではログインできません", "No sign-in with Koha's password"
        ),
        "koha-account-taken": ProblemType(
            HTTPStatus.CONFLICT,
            "そのKohaの利用者は別のアカウントで使われています",
            "Taken by another account",
        ),
        "koha-account-not-found": ProblemType(
            HTTPStatus.NOT_FOUND, "Kohaに該当する人がいません", "Nobody by this borrowernumber in Koha"
        ),
        "koha-permission-missing": ProblemType(
            HTTPStatus.FORBIDDEN, "Kohaの権限がありません", "Permission in Koha missing"
        ),
        "standing-unknown": ProblemType(
            HTTPStatus.SERVICE_UNAVAILABLE, "Kohaの権限を確認できません", "Permission in Koha not confirmed"
        ),
        "name-taken": ProblemType(HTTPStatus.CONFLICT, "その名前は使われています", "Name taken"),
        "wrong-role": ProblemType(HTTPStatus.CONFLICT, "その役割にはできません", "Role not possible here"),
        "key-in-use": ProblemType(HTTPStatus.CONFLICT, "鍵はまだ使われています", "Key still in use"),
        "audit-file-malformed": ProblemType(
            HTTPStatus.BAD_REQUEST, "監査記録のファイルではありません", "Not an exported audit log"
        ),
        "link-file-malformed": ProblemType(
            HTTPStatus.BAD_REQUEST, "連携登録のファイルではありません", "Not a file of links"
        ),
        "identifier-kind-not-used": ProblemType(
            HTTPStatus.CONFLICT, "この種類の識別子は使っていません", "Kind of identifier not used"
        ),
        "key-problem": ProblemType(
            HTTPStatus.INTERNAL_SERVER_ERROR, "鍵の設定に誤りがあります", "Key problem"
        ),
        "store-problem": ProblemType(
            HTTPStatus.INTERNAL_SERVER_ERROR, "データベースの設定に誤りがあります", "Database problem"
        ),
        "store-unavailable": ProblemType(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "データベースが一時的に利用できません",
            "Database unavailable",
        ),
    }
)
"""Slug: status and titles. Released slugs never change."""

HTTP_SLUGS: Mapping[int, str] = MappingProxyType(
    {
        HTTPStatus.NOT_FOUND: "not-found",
        HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request-too-large",
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported-media-type",
        HTTPStatus.INTERNAL_SERVER_ERROR: "internal-error",
    }
)
"""What Werkzeug refuses by itself; any other of its errors is an ``http-error`` with its own status."""


def render_problem(error: Exception) -> Response:
    """Return *error* as problem+json, in the language that the request prefers.

    An error that is not in the table is the program's own fault and becomes ``internal-error``.
    """
    slug = _slug(error)
    problem = PROBLEMS[slug]
    status = error.code if isinstance(error, HTTPException) and error.code else problem.status
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log_unexpected(error)
    english = preferred_language() == "en"
    body: dict[str, object] = {
        "type": TYPE_PREFIX + slug,
        "title": problem.title_en if english else problem.title_ja,
        "status": int(status),
    }
    if isinstance(error, MalformedRequest):
        detail_ja, detail_en = FAULT_DETAILS[error.fault]
        body["detail"] = detail_en if english else detail_ja
    for member in problem.members:
        value = getattr(error, member, None)
        if value is not None:
            body[member] = rfc3339(value) if isinstance(value, datetime) else value
    response = Response(json.dumps(body), status=int(status), mimetype=MEDIA_TYPE)
    response.headers["Content-Language"] = "en" if english else "ja"
    if isinstance(error, TerminalNotAuthenticated | DeskClosed):
        response.headers["WWW-Authenticate"] = 'Bearer realm="koha-jpki-bridge"'  # RFC 6750, 3
    if isinstance(error, PluginRefused):
        response.headers["WWW-Authenticate"] = 'Basic realm="koha-jpki-bridge"'  # RFC 7617, 2
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(error.valid_methods)  # RFC 9110, 15.5.6
    return response


def preferred_language() -> str:
    """Return ``ja`` or ``en``, whichever the request prefers; Japanese where it says nothing."""
    return request.accept_languages.best_match(["ja", "en"], default="ja") or "ja"


def _slug(error: Exception) -> str:
    if isinstance(error, ApiError):
        return error.slug
    if isinstance(error, BridgeError | JpkiError):
        return slug_of(error)
    if isinstance(error, HTTPException):
        return HTTP_SLUGS.get(error.code or HTTPStatus.INTERNAL_SERVER_ERROR, "http-error")
    return BridgeError.slug
