"""Nothing that names a person or opens a door is in the log, at any level, whatever happens."""

from __future__ import annotations

import asyncio
import logging
import re

from sip2_adapter import build, encode, seal
from sip2_adapter.grammar import REQUESTS
from sip2_adapter.observer import Result
from sip2_adapter.request_log import PAUSE, RequestLog

TOKEN, UNKNOWN_TOKEN, CARD = b"98000000000017", b"98000000000099", b"20000000000001"
SECRETS = {b"AA": b"", b"AC": b"terminalpw", b"AD": b"patronpin", b"AE": b"Nameless", b"CO": b"kioskpw"}


async def test_every_request_is_logged_by_code_and_result_alone(
    start_acs, start_proxy, connect, resolver, caplog
):
    caplog.set_level(1)
    acs = await start_acs()
    proxy = await start_proxy(acs.port)
    kiosk = await connect(proxy.ports["main"])
    await kiosk.log_in()
    resolver.give(TOKEN, CARD, "s1")
    asked = ["93"]
    for identifier in (TOKEN, UNKNOWN_TOKEN, CARD, b"nobody-at-all"):
        for spec in REQUESTS.values():
            if spec.code == b"93":
                continue
            fields = tuple(
                (each.value, identifier if each == b"AA" else SECRETS.get(each.value, b"1"))
                for each in spec.fields
            )
            request = build(spec.code, b" " * spec.fixed_length, fields)
            await kiosk.ask(encode(seal(request, 3)))
            asked.append(spec.code.decode())
    await acs.stop()
    await kiosk.ask(encode(seal(build(b"35", b" " * 18, ((b"AO", b""), (b"AA", CARD))), 4)))
    await proxy.stop(grace=0)
    assert re.findall(r"main kiosk1 (\d\d) \w+ \d+\.\d ms$", caplog.text, re.MULTILINE) == [*asked, "35"]
    found = [secret for secret in (*SECRETS.values(), TOKEN, UNKNOWN_TOKEN, CARD, b"nobody", b"Edna", b"pw1")
             if secret and secret.decode() in caplog.text]  # fmt: skip
    assert found == []


async def test_requests_of_one_moment_are_one_record_and_a_line_each(caplog):
    caplog.set_level(logging.INFO)
    written = asyncio.Event()
    log = RequestLog()
    log.put("main", "kiosk1", b"63", Result.ANSWERED, 0.00123)
    log.put("main", None, b"??", Result.MALFORMED, 0)
    assert not caplog.records
    asyncio.get_running_loop().call_later(PAUSE, written.set)
    await written.wait()
    assert [record.getMessage() for record in caplog.records] == [
        "main kiosk1 63 answered 1.2 ms\nmain - ?? malformed 0.0 ms"
    ]
    log.put("main", "kiosk1", b"11", Result.ANSWERED, 0.5)
    log.flush()
    assert caplog.records[-1].getMessage() == "main kiosk1 11 answered 500.0 ms"
