"""The patron's screen (利用者画面): a page on loopback for the display that the patron sees.

The browser on that display shows where the work stands and takes the PIN, which goes to the agent on the
same machine and from there to the card, and nowhere else.
"""
