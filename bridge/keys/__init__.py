"""The master keys outside the database, what is derived from them, and their rotation."""
