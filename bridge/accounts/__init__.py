"""Staff accounts: who may sign in, the second factor, lock-out, one's own account."""
