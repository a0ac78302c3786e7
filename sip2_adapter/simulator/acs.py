"""A simulated ACS: Koha's SIP server on the wire, in front of any ``LibraryBackend``.

It behaves as Koha was observed to, bad habits included: it closes silently on an empty line, executes
a repeated request again, sums characters instead of bytes. For demonstrations and tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sip2_adapter.grammar import MESSAGES
from sip2_adapter.simulator.account import KOHA_DEFAULT_POLICY, Account, Encoding, Policy
from sip2_adapter.simulator.backend import LibraryBackend
from sip2_adapter.simulator.faults import Fault, FaultPlan, no_faults
from sip2_adapter.simulator.handlers import HANDLERS, ConnectionDies, Context
from sip2_adapter.simulator.wire import (
    Answer,
    Request,
    checksum_is_right,
    clean,
    encode_answer,
    parse,
    wants_error_detection,
)

_READ_LIMIT: Final = 2**24
"""Koha has no limit; a test needs one that it never meets."""

_LOGIN_ATTEMPTS: Final = 3
_RESEND: Final = b"96\r"
_RESEND_WITH_CHECKSUM: Final = b"96AZFEF6\r"
"""Both end in CR whatever the account says."""


class SimulatedAcs:
    """Koha's SIP server on a port of this machine.

    ``telnet`` asks for the log-in in words. ``login_timeout`` is Koha's ``timeout``;
    ``client_timeout`` is the idle limit after the log-in, None for none. ``one_process`` lets all
    connections come to one of Koha's processes, in which the last answer and the protocol version outlive
    a connection. ``received`` keeps every line as it came, for tests to look at.
    """

    def __init__(
        self,
        library: LibraryBackend,
        accounts: Iterable[Account],
        *,
        clock: Callable[[], datetime],
        policy: Policy = KOHA_DEFAULT_POLICY,
        telnet: bool = False,
        login_timeout: float = 30.0,
        client_timeout: float | str | None = None,
        one_process: bool = False,
        faults: FaultPlan = no_faults,
        late_seconds: float = 1.0,
    ) -> None:
        self.library = library
        self.accounts = {account.login_id: account for account in accounts}
        self.clock = clock
        self.policy = policy
        self.telnet = telnet
        self.login_timeout = login_timeout
        self.client_timeout = idle_limit(client_timeout, login_timeout)
        self.faults = faults
        self.late_seconds = late_seconds
        self.received: list[bytes] = []
        self._process = _Process() if one_process else None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            raise RuntimeError("the simulated ACS is not running")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connected(self) -> int:
        """How many machines are connected."""
        return len(self._tasks)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_READ_LIMIT)

    async def stop(self) -> None:
        """Close every connection and the port. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.drop_connections()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if server is not None:
            await server.wait_closed()

    def drop_connections(self) -> None:
        """Cut every machine off, as a restart of Koha does; the port stays open."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            # A cut connection is no error for a server; the task simply ends.
            with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, TimeoutError, ConnectionError):
                await _Connection(self, self._process or _Process(), reader, writer).serve()
        finally:
            writer.close()
            if task is not None:
                self._tasks.discard(task)


def idle_limit(client_timeout: float | str | None, login_timeout: float) -> float | None:
    """Return for how many seconds Koha lets a machine be silent, by its setting ``client_timeout``.

    None where it lets it be for ever: at 0 and at what is no number. Absent, it is the log-in's limit.
    """
    if client_timeout is None:
        return login_timeout
    try:
        return float(client_timeout) or None
    except ValueError:
        return None


@dataclass
class _Process:
    """What one of Koha's preforked processes remembers, from one connection to the next, too."""

    protocol_1: bool = False
    error_detection: bool = False
    last: tuple[str, bool] | None = None


class _Connection:
    """One machine's connection."""

    def __init__(
        self,
        acs: SimulatedAcs,
        process: _Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._acs = acs
        self._process = process
        self._reader = reader
        self._writer = writer
        self._account: Account | None = None
        self._count = 0

    async def serve(self) -> None:
        """Log the machine in, then answer it until it or Koha has had enough."""
        if self._acs.telnet and not await self._telnet_login():
            return
        while True:
            timeout = self._acs.client_timeout if self._account else self._acs.login_timeout
            async with asyncio.timeout(timeout):
                line = await self._reader.readuntil(b"\r")
            self._acs.received.append(line[:-1].lstrip(b"\n"))
            if not await self._answer(clean(line)):
                return

    async def _telnet_login(self) -> bool:
        for _ in range(_LOGIN_ATTEMPTS):
            words = []
            for prompt in (b"login: ", b"password: "):
                self._writer.write(prompt)
                async with asyncio.timeout(self._acs.login_timeout):
                    words.append(clean(await self._reader.readuntil(b"\r")).decode("latin-1"))
            self._account = self._authenticate(*words)
            if self._account:
                self._process.protocol_1 = True
                self._writer.write(b"Login OK.  Initiating SIP\r\n")
                return True
            self._writer.write(b"Invalid login\r\n")
        return False

    def _authenticate(self, login_id: str, password: str) -> Account | None:
        account = self._acs.accounts.get(login_id)
        return account if account and account.login_password == password else None

    async def _answer(self, line: bytes) -> bool:
        """Answer one line; False where Koha closes the connection."""
        if not line:
            return False
        self._count += 1
        self._process.error_detection = wants_error_detection(line)
        if self._process.error_detection and not checksum_is_right(line):
            self._writer.write(_RESEND_WITH_CHECKSUM)
            return True
        code = line[:2].decode("latin-1")
        if self._account is None and code != "93":
            return False
        fault = self._acs.faults(self._count, code)
        if fault is Fault.IGNORE:
            return True
        if fault is Fault.ASK_TO_RESEND:
            self._writer.write(_RESEND_WITH_CHECKSUM)
            return True
        if code == "97":
            return self._repeat()
        request = parse(line)
        if request is None or not self._is_known(request.code):
            self._writer.write(_RESEND)
            return True
        if code == "93":
            return await self._log_in(request, fault)
        return await self._handle(request, fault)

    def _is_known(self, code: str) -> bool:
        if code == "93":
            return True
        spec = MESSAGES[code.encode()]
        return code in HANDLERS and not (self._process.protocol_1 and spec.protocol_1 is None)

    def _repeat(self) -> bool:
        if self._process.last is None:
            self._writer.write(_RESEND)
            return True
        text, had_sequence = self._process.last
        if had_sequence and self._process.error_detection:
            self._write(text, "0")
        elif had_sequence:
            self._write(text, None)
        else:
            self._writer.write(self._bytes(text, None) + b"\r")
        return True

    async def _log_in(self, request: Request, fault: Fault | None) -> bool:
        algorithms_known = set(request.fixed.values()) == {"0"}
        account = self._authenticate(request.text("CN"), request.text("CO"))
        if account is None or not algorithms_known:
            self._writer.write(self._bytes("940", self._sequence(request)) + b"\r\n")
            return False
        self._account = account
        self._process.protocol_1 = False
        return await self._send("941", request, fault)

    async def _handle(self, request: Request, fault: Fault | None) -> bool:
        account = self._account
        if account is None:
            return False
        if request.code == "99":
            self._process.protocol_1 = not request.fixed["protocol_version"].startswith("2.")
        context = Context(
            self._acs.library, account, self._acs.policy, self._acs.clock(), self._process.protocol_1
        )
        try:
            answer: Answer = HANDLERS[request.code](request, context)
        except ConnectionDies:
            return False
        return await self._send(answer.text, request, fault)

    async def _send(self, text: str, request: Request, fault: Fault | None) -> bool:
        sequence = self._sequence(request)
        self._process.last = (text, sequence is not None)
        if fault is Fault.CLOSE:
            return False
        if fault is Fault.HALF:
            frame = self._bytes(text, sequence)
            self._writer.write(frame[: len(frame) // 2])
            return False
        if fault is Fault.WRONG_CHECKSUM:
            # Only an answer that carries a checksum can carry a wrong one.
            frame = self._bytes(text, sequence)
            self._writer.write(frame[:-4] + b"0000" + self._terminator())
            return True
        if fault is Fault.WRONG_SEQUENCE and sequence is not None:
            sequence = str((int(sequence) + 5) % 10)
        if fault is Fault.LATE:
            await asyncio.sleep(self._acs.late_seconds)
        self._write(text, sequence)
        await self._writer.drain()
        return True

    def _sequence(self, request: Request) -> str | None:
        return request.sequence if self._process.error_detection else None

    def _write(self, text: str, sequence: str | None) -> None:
        self._writer.write(self._bytes(text, sequence) + self._terminator())

    def _bytes(self, text: str, sequence: str | None) -> bytes:
        if self._account is None:
            return encode_answer(text, sequence, Encoding.NOT_SET)
        replacement = self._account.convert_nonprinting_characters
        if replacement is not None:
            text = "".join(character if character.isprintable() else replacement for character in text)
        return encode_answer(text, sequence, self._account.encoding)

    def _terminator(self) -> bytes:
        return b"\r" if self._account and self._account.terminator == "CR" else b"\r\n"
