"""The file that Koha's administrator uploads."""

from __future__ import annotations

import importlib.util
import json
import re
from zipfile import ZipFile

import pytest


@pytest.fixture
def builder(places):
    spec = importlib.util.spec_from_file_location("build_kpz", places.plugin / "build_kpz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(builder, tmp_path):
    with ZipFile(builder.build_kpz(tmp_path)) as archive:
        yield archive


def test_the_root_is_koha_and_the_bundle_lies_beside_its_module(archive):
    names = archive.namelist()
    bundle = "Koha/Plugin/Com/KohaJpki/MyNumberCard"
    assert names == sorted(names)
    assert set(names) == {
        f"{bundle}.pm",
        *(
            f"{bundle}/{file}"
            for file in (
                "Controller.pm",
                "configure-en.tt",
                "configure-ja.tt",
                "mynumbercard.js",
                "openapi.json",
                "staticapi.json",
            )
        ),
    }


def test_the_same_files_give_the_same_bytes(builder, tmp_path):
    first = builder.build_kpz(tmp_path / "first")
    assert first.read_bytes() == builder.build_kpz(tmp_path / "second").read_bytes()


def test_plugin_and_project_have_one_version(archive, builder):
    module = archive.read("Koha/Plugin/Com/KohaJpki/MyNumberCard.pm").decode()
    assert re.search(r"our \$VERSION = '([^']+)'", module).group(1) == builder.project_version()
    assert archive.filename.endswith(f"koha-jpki-bridge-{builder.project_version()}.kpz")


def test_every_route_of_its_own_demands_a_permission(archive):
    routes = json.loads(archive.read("Koha/Plugin/Com/KohaJpki/MyNumberCard/openapi.json"))
    operations = [operation for route in routes.values() for operation in route.values()]
    assert operations
    for operation in operations:
        assert operation["x-koha-authorization"]["permissions"]


def test_every_file_says_its_licence(archive):
    for name in archive.namelist():
        if name.endswith((".pm", ".js")):
            text = archive.read(name).decode()
            assert "GPL-3.0-or-later" in text or "either version 3 of the License" in text


def test_the_script_has_nothing_that_a_strict_policy_forbids(archive):
    script = archive.read("Koha/Plugin/Com/KohaJpki/MyNumberCard/mynumbercard.js").decode()
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "new Function", "localhost"):
        assert forbidden not in script
    assert "127.0.0.1" not in script


def test_both_languages_have_the_same_words(archive):
    script = archive.read("Koha/Plugin/Com/KohaJpki/MyNumberCard/mynumbercard.js").decode()
    table = script[script.index("const WORDS") : script.index("const language")]
    japanese, english = table.split("    en: {")
    keys = re.compile(r'^      (?:"([a-z-]+)"|([a-zA-Z]+)):', re.MULTILINE)
    assert keys.findall(japanese) == keys.findall(english)
    assert not re.search(r"[ぁ-んァ-ヶ一-龠]", english)
