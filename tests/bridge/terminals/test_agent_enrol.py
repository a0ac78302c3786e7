"""``koha-jpki agent enrol`` against the real application: the key is made here and never typed."""

import os
import stat
from hashlib import sha256

import pytest
from click.testing import CliRunner

from bridge.agent.api_client import BridgeApi
from bridge.agent.enrolment import enrol
from bridge.agent.errors import BridgeProblem, BridgeUnreachable, WrongSettings
from bridge.cli import main
from bridge.enrolment_code import EnrolmentCode
from bridge.models import Actor, ActorKind

ACTOR = Actor(ActorKind.COMMAND, "test")


@pytest.fixture
def code(bridge):
    return bridge.services.enrolment.draw_code(ACTOR, library_id="chuo", terminal_id="counter-1").code


@pytest.fixture
def token_file(tmp_path):
    return tmp_path / "token"


@pytest.fixture
def run(server, token_file):
    def run(typed, *more, url=server.url):
        arguments = ["agent", "enrol", "--bridge", url, "--token-file", str(token_file), *more]
        return CliRunner().invoke(main, arguments, input=typed)

    return run


def test_the_terminal_enrols_and_its_token_is_in_a_file_of_its_own(run, bridge, code, token_file):
    ended = run(code.grouped(), "--code-stdin")
    assert (ended.exit_code, ended.stdout) == (0, "中央図書館 (chuo): counter-1 [counter]\n")
    token = token_file.read_text().strip()
    assert len(token) == 43, "32 bytes"
    assert bridge.services.staff.terminal_for_token(token).terminal_id == "counter-1"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert (
        os.listdir(token_file.parent) == ["bridge.db", "token"]
        or not token_file.with_name("token.new").exists()
    )
    assert token not in ended.output


def test_a_token_of_before_is_replaced(run, code, token_file):
    token_file.write_text("of-before\n")
    assert run(code.grouped(), "--code-stdin").exit_code == 0
    assert token_file.read_text() != "of-before\n"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600


def test_who_mistypes_at_the_prompt_is_asked_again(run, code):
    ended = run(f"123\n{code.grouped().lower()}\n")
    assert ended.exit_code == 0
    assert "もう一度入力してください" in ended.stderr


def test_a_mistyped_code_from_standard_input_is_refused_and_nothing_is_sent(run, server, token_file):
    ended = run("123", "--code-stdin")
    assert ended.exit_code == 1
    assert server.recorder.requests == []
    assert not token_file.exists()


def test_a_used_code_is_refused_in_words_and_the_old_token_stays(run, bridge, code, token_file):
    bridge.services.enrolment.enrol(code.value, "0" * 64)
    token_file.write_text("of-before\n")
    ended = run(code.grouped(), "--code-stdin")
    assert ended.exit_code == 1
    assert "登録コードは既に使われています" in ended.stderr
    assert "has been used already" in ended.stderr
    assert token_file.read_text() == "of-before\n"


class LosesTheAnswer(BridgeApi):
    """A network that breaks when the bridge has done its work."""

    def enrol(self, code, token_digest):
        super().enrol(code, token_digest)
        raise BridgeUnreachable("ReadTimeout")


def test_a_lost_answer_loses_nothing(run, server, bridge, code, token_file):
    with pytest.raises(BridgeUnreachable):
        enrol(LosesTheAnswer(server.url, None, 5.0), code, token_file, os.urandom)
    assert not token_file.exists()
    bridge.clock.advance(hours=1)
    ended = run(code.grouped(), "--code-stdin")
    assert ended.exit_code == 0
    assert bridge.services.staff.terminal_for_token(token_file.read_text().strip()) is not None


def test_a_bridge_that_does_not_answer_is_told_with_what_to_do(run, code):
    ended = run(code.grouped(), "--code-stdin", url="http://127.0.0.1:9")
    assert ended.exit_code == 1
    assert "同じコードでもう一度" in ended.stderr


def test_an_empty_file_left_by_a_power_cut_is_made_anew(run, code, token_file):
    token_file.with_name("token.new").touch()
    assert run(code.grouped(), "--code-stdin").exit_code == 0


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_sent(run, server, code, tmp_path):
    with pytest.raises(WrongSettings, match="cannot be written"):
        enrol(BridgeApi(server.url, None, 5.0), code, tmp_path / "nowhere" / "token", os.urandom)
    assert server.recorder.requests == []


def test_plain_http_to_another_machine_is_refused(run, code):
    ended = run(code.grouped(), "--code-stdin", url="http://bridge.example")
    assert ended.exit_code == 2


def test_only_the_digest_of_the_key_travels(run, server, code, token_file):
    run(code.grouped(), "--code-stdin")
    token = token_file.read_text().strip()
    ((line, headers, body),) = server.recorder.requests
    assert line == "POST /api/v1/enrolments"
    assert sha256(token.encode()).hexdigest().encode() in body
    assert token.encode() not in body
    assert "HTTP_AUTHORIZATION" not in headers


def test_a_refusal_keeps_the_key_for_the_next_code(server, bridge, code, token_file):
    client = BridgeApi(server.url, None, 5.0)
    with pytest.raises(BridgeProblem):
        enrol(client, EnrolmentCode.draw(os.urandom), token_file, os.urandom)
    waiting = token_file.with_name("token.new").read_text()
    enrol(client, code, token_file, os.urandom)
    assert token_file.read_text() == waiting
    client.close()
