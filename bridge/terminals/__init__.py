"""Terminals: enrolled, watched, and served each in its own way."""
