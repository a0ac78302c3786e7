"""A librarian's order for the next card, whose card it is, and the desk in Koha's staff pages."""
