"""The agent's settings file: read whole, or refused with everything that is wrong."""

import pytest

from config import SettingsError, agent_example_toml, load_agent_settings

LEAST = 'bridge_url = "https://bridge.example"\ntoken_file = "terminal.token"\n'


def load(tmp_path, text):
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return load_agent_settings(path)


def test_the_example_can_be_used_as_it_is(tmp_path):
    settings = load(tmp_path, agent_example_toml())
    assert settings.bridge_url == "https://bridge.library.example.jp"
    assert settings.token_file == tmp_path / "terminal.token"
    assert settings.output.kind == "keyboard"


def test_a_counter_needs_two_settings(tmp_path):
    settings = load(tmp_path, LEAST)
    assert settings.output is None
    assert (settings.language, settings.page.port, settings.page.scramble_keys) == ("ja", 8765, False)


def test_a_serial_line_is_read_with_its_frame(tmp_path):
    output = 'kind = "serial"\ndevice = "COM3"\nparity = "E"\ndata_bits = 7\nsuffix = "\\r\\n"\nprefix = ""\n'
    settings = load(tmp_path, f"{LEAST}[output]\n{output}").output
    assert (settings.device, settings.parity, settings.data_bits, settings.suffix) == ("COM3", "E", 7, "\r\n")


def test_everything_that_is_wrong_is_named_at_once(tmp_path):
    with pytest.raises(SettingsError) as refused:
        load(
            tmp_path,
            'token = "secret"\nlanguage = "de"\n[page]\nport = 0\n'
            '[output]\nkind = "serial"\nbaud_rate = 9601\nlayout = "fr"\nspeed = 1\n',
        )
    assert sorted(problem.partition(":")[0] for problem in refused.value.problems) == [
        "bridge_url",
        "language",
        "output.baud_rate",
        "output.device",
        "output.layout",
        "output.speed",
        "page.port",
        "token",
        "token_file",
    ]
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("kind", ["file", "call", "serial"])
def test_an_output_names_what_it_lacks(tmp_path, kind):
    with pytest.raises(SettingsError):
        load(tmp_path, f'{LEAST}[output]\nkind = "{kind}"\n')


@pytest.mark.parametrize("text", [None, "bridge_url =", b"\xff", "page = 1\n" + LEAST])
def test_a_file_that_is_none_is_refused_in_words(tmp_path, text):
    path = tmp_path / "agent.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as refused:
        load_agent_settings(path)
    assert refused.value.problems


def test_no_other_application_is_read_unless_the_settings_name_it(tmp_path):
    assert load(tmp_path, LEAST).card_number is None
    assert load(tmp_path, agent_example_toml()).card_number is None


def test_where_a_citys_number_lies_is_read_and_not_shown(tmp_path):
    place = 'application_id = "F000000001020304"\nfile_id = "0A01"\nlength = 12\n'
    settings = load(tmp_path, f"{LEAST}[card_number]\n{place}")
    found = settings.card_number
    assert (found.application_id, found.file_id, found.length) == ("F000000001020304", "0A01", 12)
    assert (found.offset, found.encoding) == (0, "ascii")
    assert "F000" not in repr(settings)


@pytest.mark.parametrize(
    "place",
    [
        'application_id = "F0000000"\nfile_id = "0A01"\nlength = 12\n',
        'application_id = "F000000001020304"\nfile_id = "A01"\nlength = 12\n',
        'application_id = "F000000001020304"\nfile_id = "0A01"\nlength = 65\n',
        'application_id = "F000000001020304"\nfile_id = "0A01"\n',
        'application_id = "F000000001020304"\nfile_id = "0A01"\nlength = 12\noffset = 32768\n',
    ],
)
def test_a_place_on_the_card_that_cannot_be_is_refused(tmp_path, place):
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, f"{LEAST}[card_number]\n{place}")
    assert "F000" not in str(refused.value)
