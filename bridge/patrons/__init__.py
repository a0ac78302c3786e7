"""Patrons as Koha tells of them, over REST or SIP2, and the category for those who are linked."""
