"""The agent: runs beside a card reader, at a counter or at a self-check machine.

It reads the card, asks the patron for the PIN, has the card sign and tells the bridge. It imports ``jpki``,
``config`` and ``requests`` and nothing of the server, so that it runs on a desk PC. Nothing is imported here.
"""
