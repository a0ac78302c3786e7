"""Counters and timings for Prometheus."""
