"""The entry of the executable: ``koha-jpki.exe agent run``."""

from bridge.cli import main

main()
