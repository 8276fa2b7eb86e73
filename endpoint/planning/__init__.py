"""From a question about metrics to its rows: which table answers, and with which SQL.

    question.py   the JSON of a question, everything that may be wrong with it, and what it means
    periods.py    starts and ends of hours to years, and the period that is really answered
    time_zones.py the same where the clock is a local one
    accounts.py   whose messages a question is about
    planner.py    the choice of the table, and the SQL
    answer.py     runs the SQL and gives rows

No route, key or file lives here: callers bring a connection to a published file and say what the
asker may see.
"""
