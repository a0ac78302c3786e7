"""A link's life besides its making: its steps, records, files in and out, other kinds of identifier."""
