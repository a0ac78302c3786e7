"""The options that several of the agent's commands take."""

from __future__ import annotations

from pathlib import Path

import click

settings_option = click.option(
    "--settings",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="KOHA_JPKI_AGENT_SETTINGS",
    default=Path("/etc/koha-jpki/agent.toml"),
    show_default=True,
    help="The agent's settings file (TOML), see config/agent-example.toml.",
)

bridge_option = click.option(
    "--bridge", required=True, envvar="KOHA_JPKI_BRIDGE", metavar="URL", help="The bridge's address."
)

token_file_option = click.option(
    "--token-file",
    required=True,
    envvar="KOHA_JPKI_TOKEN_FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with this terminal's token, readable by nobody else; enrolling replaces it.",
)
