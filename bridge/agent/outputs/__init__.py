"""The ways by which a one-time token reaches a self-check machine that nobody may change.

To the machine each of them is a barcode scanner: a keyboard, a serial line, a barcode to be scanned.
For machines whose maker can change the program there are a local HTTP call and a file.
"""

from bridge.agent.outputs.output import StreamOutput, TokenFraming, TokenOutput

__all__ = ["StreamOutput", "TokenFraming", "TokenOutput"]
