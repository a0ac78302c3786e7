"""``python -m bridge`` is the command ``koha-jpki``."""

from bridge.cli import main

if __name__ == "__main__":
    main(prog_name="koha-jpki")
