"""The README says what the program does: its tables are those of the program."""

from pathlib import Path

from config import agent_settings_table_markdown, settings_table_markdown

ROOT = Path(__file__).parents[1]


def between_markers(text, name):
    _, begin, rest = text.partition(f"<!-- {name}:begin -->")
    table, end, _ = rest.partition(f"<!-- {name}:end -->")
    assert begin, f"there is no <!-- {name}:begin -->"
    assert end, f"there is no <!-- {name}:end -->"
    return table.strip()


def test_the_readme_has_every_setting_as_the_program_reads_it():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert between_markers(readme, "settings") == settings_table_markdown()


def test_the_guide_for_self_check_machines_has_every_setting_of_the_agent():
    guide = (ROOT / "docs" / "ja" / "自動貸出機の接続.md").read_text(encoding="utf-8")

    assert between_markers(guide, "agent-settings") == agent_settings_table_markdown()
