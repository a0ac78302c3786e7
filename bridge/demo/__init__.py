"""The whole story on one machine: every part started on loopback, a simulated card, plain words.

``python -m bridge demo`` tells it and ends; with ``--stay`` the parts stay up. Nothing in here runs
in production, and nothing in production imports it.
"""
