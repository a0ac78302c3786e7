"""The bridge itself: services, API, admin, agent, and the commands that run them.

Nothing is imported here, so that ``bridge.agent`` runs on a desk PC without Flask or SQLAlchemy.
"""
