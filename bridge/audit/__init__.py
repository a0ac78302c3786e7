"""The audit log: each library's chain of events, its check and its export."""
