"""Nothing that names a person or opens a door is in the log, at any level, whatever happens."""

from __future__ import annotations

from sip2_adapter import build, encode, seal
from sip2_adapter.grammar import REQUESTS

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
            assert f"main kiosk1 {spec.code.decode()} " in caplog.text
    await acs.stop()
    await kiosk.ask(encode(seal(build(b"35", b" " * 18, ((b"AO", b""), (b"AA", CARD))), 4)))
    found = [secret for secret in (*SECRETS.values(), TOKEN, UNKNOWN_TOKEN, CARD, b"nobody", b"Edna", b"pw1")
             if secret and secret.decode() in caplog.text]  # fmt: skip
    assert found == []
