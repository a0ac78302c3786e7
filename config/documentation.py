"""The settings table of the README and the text of ``example.toml``, made from the table. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING

from config.agent_table import AGENT_SECTIONS
from config.table import LIBRARY_SECTIONS, SECTIONS, Section, Setting

_ALL_SECTIONS = (*SECTIONS, *LIBRARY_SECTIONS)


def _toml(value: object) -> str:
    # Strings, numbers, booleans and lists of them look the same in JSON and TOML.
    return json.dumps(value, ensure_ascii=False)


def _default_cell(section: Section, setting: Setting) -> str:
    default = section.default(setting)
    if default is MISSING:
        return "**required**"
    return "–" if default is None else f"`{_toml(default)}`"


def _explanation_cell(section: Section, setting: Setting) -> str:
    if not setting.external:
        return setting.explanation
    only = "Only from" if setting.secret else "Also from"
    variable = section.environment_variable(setting)
    if setting.variable_only:
        return f"{setting.explanation} {only} `{variable}`."
    return f"{setting.explanation} {only} `{setting.name}_file` or `{variable}`."


def settings_table_markdown(sections: Sequence[Section] = _ALL_SECTIONS) -> str:
    """Return the table of all settings as it stands in the documents, without a final line end."""
    lines = ["| Setting | Kind | Default | Explanation |", "|---|---|---|---|"]
    for section in sections:
        lines.extend(
            f"| `{section.path(setting)}` | {setting.kind.description} "
            f"| {_default_cell(section, setting)} | {_explanation_cell(section, setting)} |"
            for setting in section.rows
        )
    return "\n".join(lines)


def _example_lines(section: Section, setting: Setting) -> list[str]:
    lines = [f"# {_explanation_cell(section, setting)}"]
    if setting.variable_only:
        return lines
    name = f"{setting.name}_file" if setting.secret else setting.name
    default = section.default(setting)
    if setting.example:
        lines.append(f"{'#' if section.is_comment_in_example else ''}{name} = {setting.example}")
    else:
        lines.append(f"# {name} = {'' if default is None else _toml(default)}".rstrip())
    return lines


def agent_settings_table_markdown() -> str:
    """Return the table of an agent's settings."""
    return settings_table_markdown(AGENT_SECTIONS)


def example_toml() -> str:
    """Return the text of ``example.toml``: every setting; what has a default is commented out."""
    return _example("Settings of koha-jpki-bridge", _ALL_SECTIONS)


def agent_example_toml() -> str:
    """Return the text of ``agent-example.toml``, in the same manner."""
    return _example("Settings of koha-jpki agent", AGENT_SECTIONS)


def _example(title: str, sections: Sequence[Section]) -> str:
    lines = [
        f"# {title}: an example that shows every setting.",
        "# A line that begins with '# name =' shows a default. Relative paths start at this file's folder.",
    ]
    for section in sections:
        lines += ["", f"# {section.explanation}"]
        if section.name:
            listed = section.listed or section.name == "library"
            heading = f"[[{section.name}]]" if listed else f"[{section.name}]"
            lines.append(f"#{heading}" if section.is_comment_in_example else heading)
        for setting in section.rows:
            lines += _example_lines(section, setting)
    return "\n".join(lines) + "\n"
