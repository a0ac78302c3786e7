"""The house's own rules, as tests: import contracts, and one meaning for each public name."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_every_import_contract_is_kept():
    # A cache of one's own: the tests may run beside another lint-imports.
    linter = Path(sys.executable).with_name("lint-imports")
    result = run(str(linter), "--no-cache")
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


EXEMPT = {
    "agent-without-server:forbidden_modules": {"agent", "enrolment_code"},  # how a code looks, both know
    "one-composition-root:source_modules": {"agent", "app", "cli", "demo", "wiring"},
    "simulators-stay-out-of-production:source_modules": {"cli", "demo"},
}


@pytest.mark.parametrize("contract", EXEMPT)
def test_a_contract_names_every_part_of_the_bridge(contract):
    name, key = contract.split(":")
    written = configparser.ConfigParser()
    written.read(ROOT / "setup.cfg", encoding="utf-8")
    named = written[f"importlinter:contract:{name}"][key].split()
    parts = {
        place.stem
        for place in (ROOT / "bridge").iterdir()
        if (place.suffix == ".py" and not place.stem.startswith("__")) or (place / "__init__.py").exists()
    }
    assert {part.removeprefix("bridge.") for part in named if part.startswith("bridge.")} == (
        parts - EXEMPT[contract]
    )


def test_no_public_name_has_two_meanings():
    result = run(sys.executable, ".ci/public_names.py")
    assert result.returncode == 0, result.stdout


def test_the_agent_can_be_imported_without_the_server():
    script = (
        "import sys, bridge.agent, bridge.cli\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'flask', 'sqlalchemy', 'koha_client', 'sip2_adapter', 'config'}, loaded\n"
    )
    result = run(sys.executable, "-c", script)
    assert result.returncode == 0, result.stderr


def test_a_command_can_read_the_settings_without_the_server():
    script = (
        "import sys, bridge.cli.common\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'flask', 'sqlalchemy'}, loaded\n"
    )
    result = run(sys.executable, "-c", script)
    assert result.returncode == 0, result.stderr


def test_importing_jpki_does_not_load_pyscard():
    script = "import sys, jpki\nassert 'smartcard' not in sys.modules"
    result = run(sys.executable, "-c", script)
    assert result.returncode == 0, result.stderr


def test_no_ca_certificate_is_part_of_the_project():
    tracked = run("git", "ls-files").stdout.splitlines()
    assert tracked
    assert not [path for path in tracked if path.endswith((".pem", ".cer", ".crt", ".der", ".key"))]
