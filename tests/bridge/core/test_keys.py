"""The key file, the derived keys, digests and encryption."""

from __future__ import annotations

import base64
import errno
import os
import sys
from secrets import token_bytes

import pytest

from bridge.errors import KeyProblem
from bridge.keys.command import read_key_command
from bridge.keys.ring import KeyRing, KeyUse, MasterKey, load_key_ring, parse_key_ring, write_new_key_file
from bridge.models import IdentifierKind, SessionToken
from jpki.certificate import SerialNumber

OLD, NEW = MasterKey("k1", bytes(range(32))), MasterKey("k2", bytes(range(32, 64)))
ISSUER = bytes(20)
SERIAL = SerialNumber(123_456_789)
KIND = IdentifierKind.SERIAL_NUMBER


def ring(*keys: MasterKey) -> KeyRing:
    return KeyRing(keys, token_bytes)


def encoded(length: int = 32) -> str:
    return base64.b64encode(bytes(length)).decode()


@pytest.fixture
def key_file(tmp_path):
    def write(text: str, mode: int = 0o600):
        path = tmp_path / "keys"
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def test_a_new_key_file_is_private_and_can_be_read(tmp_path):
    path = tmp_path / "keys"
    key_id = write_new_key_file(path, token_bytes)
    assert path.stat().st_mode & 0o777 == 0o600
    assert repr(load_key_ring(path, token_bytes)) == f"KeyRing({key_id})"


def test_a_key_file_is_never_overwritten(tmp_path):
    path = tmp_path / "keys"
    write_new_key_file(path, token_bytes)
    before = path.read_bytes()
    with pytest.raises(KeyProblem, match="not overwritten"):
        write_new_key_file(path, token_bytes)
    assert path.read_bytes() == before


def test_a_key_file_that_cannot_be_written_is_a_key_problem(tmp_path):
    with pytest.raises(KeyProblem, match="cannot be written"):
        write_new_key_file(tmp_path / "none" / "keys", token_bytes)


def test_a_key_file_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("bridge.keys.ring.os.fsync", full)
        with pytest.raises(KeyProblem, match="keys cannot be written: No space left"):
            write_new_key_file(tmp_path / "keys", token_bytes)
    assert list(tmp_path.iterdir()) == []
    assert write_new_key_file(tmp_path / "keys", token_bytes)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_a_key_file_that_others_may_touch_is_refused(key_file, mode):
    with pytest.raises(KeyProblem, match="0600"):
        load_key_ring(key_file(f"k1 {encoded()}\n", mode), token_bytes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no master key"),
        ("# only a comment\n\n", "no master key"),
        ("k1\n", "0 bytes long"),
        (f"K1 {encoded()}\n", "key id"),
        ("k1 !!!!\n", "not base64"),
        (f"k1 {encoded(31)}\n", "31 bytes long"),
        (f"k1 {encoded()}\nk1 {encoded()}\n", "same id"),
        ("k1 鍵\n", "not a key file"),
    ],
)
def test_a_malformed_key_file_is_refused_in_words(key_file, text, problem):
    with pytest.raises(KeyProblem, match=problem):
        load_key_ring(key_file(text), token_bytes)


def test_a_missing_key_file_is_refused(tmp_path):
    with pytest.raises(KeyProblem, match="cannot be read"):
        load_key_ring(tmp_path / "none", token_bytes)


def test_the_first_key_of_the_file_is_current(key_file):
    text = f"# current\nk2 {base64.b64encode(NEW.secret).decode()}\nk1 {encoded()}\n"
    keys = load_key_ring(key_file(text), token_bytes)
    assert keys.identifier("central", KIND, ISSUER, SERIAL).key_id == "k2"


def test_an_identifier_depends_on_library_kind_issuer_serial_and_key():
    def digest(keys=OLD, library="central", kind=KIND, issuer=ISSUER, serial=SERIAL):
        return ring(keys).identifier(library, kind, issuer, serial).digest

    same = digest()
    others = {
        digest(keys=NEW),
        digest(library="harbour"),
        digest(kind=IdentifierKind.PPID),
        digest(issuer=bytes([1] * 20)),
        digest(serial=SerialNumber(123_456_788)),
    }
    assert digest() == same
    assert same not in others
    assert len(others) == 5
    assert len(same) == 64


def test_parts_of_an_identifier_do_not_run_into_each_other():
    # 01 | 02 03 and 01 02 | 03 would be the same bytes without lengths.
    one = ring(OLD).identifier("central", KIND, b"\x01", SerialNumber(0x0203))
    other = ring(OLD).identifier("central", KIND, b"\x01\x02", SerialNumber(0x03))
    assert one.digest != other.digest


def test_look_ups_ask_under_every_key_the_current_first():
    found = ring(NEW, OLD).identifiers("central", KIND, ISSUER, SERIAL)
    assert [each.key_id for each in found] == ["k2", "k1"]
    assert found[1] == ring(OLD).identifier("central", KIND, ISSUER, SERIAL)


def test_what_is_encrypted_opens_for_its_own_record_alone():
    keys = ring(OLD)
    sealed = keys.encrypt(KeyUse.SERIAL_ENCRYPTION, "central", "r1", b"secret")
    assert keys.decrypt(KeyUse.SERIAL_ENCRYPTION, "central", "r1", sealed) == b"secret"
    for use, library, record in [
        (KeyUse.CARDNUMBER_ENCRYPTION, "central", "r1"),
        (KeyUse.SERIAL_ENCRYPTION, "harbour", "r1"),
        (KeyUse.SERIAL_ENCRYPTION, "central", "r2"),
    ]:
        with pytest.raises(KeyProblem):
            keys.decrypt(use, library, record, sealed)


def test_what_an_old_key_encrypted_opens_after_a_new_one_came():
    sealed = ring(OLD).encrypt(KeyUse.SERIAL_ENCRYPTION, "central", "r1", b"secret")
    assert ring(NEW, OLD).decrypt(KeyUse.SERIAL_ENCRYPTION, "central", "r1", sealed) == b"secret"
    with pytest.raises(KeyProblem, match="k1 is missing"):
        ring(NEW).decrypt(KeyUse.SERIAL_ENCRYPTION, "central", "r1", sealed)


def test_the_same_plaintext_is_never_encrypted_alike():
    one, other = (ring(OLD).encrypt(KeyUse.SERIAL_ENCRYPTION, "central", "r1", b"secret") for _ in range(2))
    assert one.ciphertext != other.ciphertext


def test_keys_for_different_uses_and_libraries_differ():
    derived = {OLD.derive(use, library) for use in KeyUse for library in ("", "central", "harbour")}
    assert len(derived) == 3 * len(KeyUse)
    assert OLD.secret not in derived


def test_the_first_start_remembers_the_keys_and_later_starts_compare(store):
    ring(OLD).confirm(store)
    ring(OLD).confirm(store)
    ring(NEW, OLD).confirm(store)
    with store.transaction() as transaction:
        assert set(transaction.key_checks()) == {"k1", "k2"}


def test_another_key_of_the_same_id_is_noticed_at_the_start(store):
    ring(OLD).confirm(store)
    with pytest.raises(KeyProblem, match="not the one"):
        ring(MasterKey("k1", NEW.secret)).confirm(store)


def test_a_lost_key_is_noticed_at_the_start(store):
    ring(OLD).confirm(store)
    with pytest.raises(KeyProblem, match="missing"):
        ring(NEW).confirm(store)


def test_nothing_of_a_key_or_digest_is_printed():
    keys = ring(OLD)
    token = SessionToken("98123456789012")
    identifier = keys.identifier("central", KIND, ISSUER, SERIAL)
    digest = keys.token_digest("central", token)
    sealed = keys.encrypt(KeyUse.SERIAL_ENCRYPTION, "central", "r1", b"secret")
    printed = repr([OLD, keys, token, identifier, digest, sealed, SERIAL])
    for secret in (identifier.digest, digest.digest, token.value, str(SERIAL.value), repr(OLD.secret)):
        assert secret not in printed
    assert repr(sealed.ciphertext) not in printed


LINES = f"k1 {base64.b64encode(OLD.secret).decode()}\n"


def test_keys_come_from_a_command_through_a_pipe():
    text = read_key_command([sys.executable, "-c", f"print({LINES!r}, end='')"])
    assert parse_key_ring(text, "the key command", token_bytes).key_ids == ("k1",)


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("raise SystemExit(3)", "failed with exit code 3"),
        ("import time; time.sleep(60)", "did not end within 0.5 seconds"),
        ("import os, time; os.fork() or time.sleep(60)", "did not end within 0.5 seconds"),
        ("while True: print('k1 ' * 1000)", "writes more than keys"),
        ("print('鍵')", "does not write a key file"),
    ],
)
def test_a_command_that_gives_no_keys_is_refused_without_its_words(program, problem):
    with pytest.raises(KeyProblem, match=problem) as refusal:
        read_key_command([sys.executable, "-c", program], time_limit=0.5 if "sleep" in program else 20)
    assert program not in str(refusal.value)


def test_a_command_that_is_not_there_is_refused():
    with pytest.raises(KeyProblem, match="/nowhere/kms cannot be run: No such file"):
        read_key_command(["/nowhere/kms", "secret-argument"])
