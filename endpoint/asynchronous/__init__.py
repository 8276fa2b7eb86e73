"""Requests that are answered later: taken, queued, answered, called back, kept for a day.

    ledger.py      what is known of each request; the truth after any crash
    results.py     the bodies that callbacks carry, as files
    addresses.py   which addresses a callback may go to
    callbacks.py   one HTTP call of a callback
    lines.py       how much of that is done at once for one account
    worker.py      the queue: answers requests and sends callbacks, in one process at a time

What a question means, and the routes, are elsewhere.
"""
