"""The plugin's Perl: it compiles, and does what it should against stand-ins for Koha and a real bridge."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest


def perl(places, *command, **variables):
    environment = {**os.environ, "no_proxy": "127.0.0.1", **variables}
    library = ("-I", str(places.plugin), "-I", str(places.tests / "t" / "lib"))
    return subprocess.run(
        [command[0], *library, *command[1:]],
        cwd=places.root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("module", ["MyNumberCard.pm", "MyNumberCard/Controller.pm"])
def test_every_module_compiles_without_a_warning(places, module):
    path = places.plugin / "Koha/Plugin/Com/KohaJpki" / module
    ended = perl(places, "perl", "-wc", str(path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == f"{path} syntax OK\n"


@pytest.mark.parametrize("test", ["00-load.t", "01-configure.t", "03-standing.t"])
def test_the_plugin_passes_its_own_tests(places, test):
    ended = perl(places, "prove", "-v", str(places.tests / "t" / test))
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


def test_the_plugin_gets_a_token_from_the_bridge_and_tells_its_refusals(places, bridge):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # not listening: the bridge is away
        ended = perl(
            places,
            "prove",
            "-v",
            str(places.tests / "t" / "02-pass.t"),
            BRIDGE=bridge.url,
            NO_BRIDGE=f"http://127.0.0.1:{nobody.getsockname()[1]}",
            PLUGIN_ID=bridge.plugin.plugin.plugin_id,
            SECRET=bridge.plugin.secret,
        )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert bridge.plugin.secret not in ended.stdout + ended.stderr
