"""SIP2 for libraries: a lossless codec, a client, and a proxy that lends with tokens.

The words are those of the specification: a self-check machine is an SC, the library system (Koha) is
the ACS. The proxy asks a ``PatronResolver`` what a patron identifier stands for and knows nothing
else of tokens. Standard library only; whoever runs the event loop may choose uvloop.
"""

from sip2_adapter.client import Sip2Client
from sip2_adapter.codec import build, decode, encode, seal
from sip2_adapter.errors import (
    AcsClosed,
    AcsNotReached,
    AcsTimeout,
    AcsUnavailable,
    ChannelClosed,
    ChecksumMismatch,
    FrameTooLong,
    FrameTooSlow,
    LocalProtocolError,
    LoginRefused,
    MalformedMessage,
    ProxyHeaderError,
    RemoteProtocolError,
    ResendRequested,
    SequenceMismatch,
    Sip2Error,
    TooManyFrames,
    UnexpectedAnswer,
    UnknownMessage,
)
from sip2_adapter.fields import FieldId
from sip2_adapter.framing import FrameBuffer, Terminator
from sip2_adapter.grammar import MESSAGES, MessageSpec
from sip2_adapter.listener import ConnectionLimits, Listener, ProxyLimits
from sip2_adapter.messages import ErrorDetection, Sip2Message
from sip2_adapter.observer import Cut, LoginRefusal, ProxyObserver, Result
from sip2_adapter.proxy import Sip2Proxy
from sip2_adapter.resolver import (
    Kiosk,
    PassThrough,
    PatronResolver,
    Refusal,
    Refused,
    Resolution,
    Resolved,
    SessionEnd,
)
from sip2_adapter.screen import JAPANESE_SCREEN_MESSAGES, KioskScreen, ScreenMessages
from sip2_adapter.tls import ClientTls, TlsProblem, client_tls, server_tls

__all__ = [
    "JAPANESE_SCREEN_MESSAGES",
    "MESSAGES",
    "AcsClosed",
    "AcsNotReached",
    "AcsTimeout",
    "AcsUnavailable",
    "ChannelClosed",
    "ChecksumMismatch",
    "ClientTls",
    "ConnectionLimits",
    "Cut",
    "ErrorDetection",
    "FieldId",
    "FrameBuffer",
    "FrameTooLong",
    "FrameTooSlow",
    "Kiosk",
    "KioskScreen",
    "Listener",
    "LocalProtocolError",
    "LoginRefusal",
    "LoginRefused",
    "MalformedMessage",
    "MessageSpec",
    "PassThrough",
    "PatronResolver",
    "ProxyHeaderError",
    "ProxyLimits",
    "ProxyObserver",
    "Refusal",
    "Refused",
    "RemoteProtocolError",
    "ResendRequested",
    "Resolution",
    "Resolved",
    "Result",
    "ScreenMessages",
    "SequenceMismatch",
    "SessionEnd",
    "Sip2Client",
    "Sip2Error",
    "Sip2Message",
    "Sip2Proxy",
    "Terminator",
    "TlsProblem",
    "TooManyFrames",
    "UnexpectedAnswer",
    "UnknownMessage",
    "build",
    "client_tls",
    "decode",
    "encode",
    "seal",
    "server_tls",
]
