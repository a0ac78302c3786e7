"""Revocation at work: questions asked early, sources for a sweep, and the sweep over all links."""
