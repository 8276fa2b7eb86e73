"""The one exception that a user may see.

Only errors that a user can cause and mend live here. The endpoint's error shapes live in
`endpoint/errors.py`.
"""


class UserError(Exception):
    """One sentence that says what is wrong and what to do about it.

    The command line prints it and exits with code 2; no stack trace is shown.
    """
