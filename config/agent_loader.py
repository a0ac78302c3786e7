"""An agent's settings file (TOML) -> ``AgentSettings``; every problem is named at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from config.agent_settings import AgentSettings, CardNumberSettings, OutputSettings, PageSettings
from config.agent_table import (
    AGENT,
    AGENT_SECTIONS,
    BAUD_RATES,
    CARD_NUMBER,
    NEEDED_BY_OUTPUT,
    OUTPUT,
    PAGE,
)
from config.kinds import WrongValue
from config.loader import SettingsError, read_document
from config.table import Section


def load_agent_settings(path: Path) -> AgentSettings:
    """Return the settings of the file at *path*. Raises ``SettingsError`` with every problem found."""
    document = read_document(path)
    problems: list[str] = []
    values = {
        section.name: _read(section, document, path.absolute().parent, problems)
        for section in AGENT_SECTIONS
        if not (section.optional and section.name not in document)
    }
    problems += _contradictions(values.get(OUTPUT.name))
    if problems:
        raise SettingsError(tuple(problems))
    output = OutputSettings(**values[OUTPUT.name]) if OUTPUT.name in values else None
    number = CardNumberSettings(**values[CARD_NUMBER.name]) if CARD_NUMBER.name in values else None
    return AgentSettings(
        **values[AGENT.name],
        page=PageSettings(**values[PAGE.name]),
        output=output,
        card_number=number,
    )


def _read(section: Section, document: dict[str, Any], folder: Path, problems: list[str]) -> dict[str, Any]:
    table = document if section is AGENT else document.get(section.name, {})
    if not isinstance(table, dict):
        problems.append(f"{section.name}: expected a table of settings")
        return {}
    known = {setting.name for setting in section.rows}
    if section is AGENT:
        known |= {inner.name for inner in AGENT_SECTIONS if inner is not AGENT}
    prefix = f"{section.name}." if section.name else ""
    problems += [f"{prefix}{key}: unknown setting" for key in table if key not in known]
    values = {}
    for setting in section.rows:
        if setting.name not in table:
            if section.is_required(setting):
                problems.append(f"{prefix}{setting.name}: missing")
            continue
        try:
            values[setting.name] = setting.kind.read(table[setting.name], folder)
        except WrongValue:
            problems.append(f"{prefix}{setting.name}: expected {setting.kind.description}")
    return values


def _contradictions(output: dict[str, Any] | None) -> list[str]:
    if output is None:
        return []
    problems = []
    needed = NEEDED_BY_OUTPUT.get(output.get("kind", ""))
    if needed is not None and needed not in output:
        problems.append(f"output.{needed}: missing; output.kind asks for it")
    if output.get("baud_rate", BAUD_RATES[0]) not in BAUD_RATES:
        problems.append(f"output.baud_rate: expected one of {', '.join(map(str, BAUD_RATES))}")
    return problems
