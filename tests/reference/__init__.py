"""An independent, plain-Python statement of what msgmetrics must answer.

The warehouse computes its numbers in SQL, incrementally, by signed changes. This package computes
the same numbers once more, from the specification alone, in the slowest and plainest way: every
record in memory, every group summed from scratch. Tests compare the two to the last digit.

It imports nothing but the standard library, and nothing of the product. Channels, event types,
time buckets and metrics are therefore typed a second time here, on purpose: a mistake in the
product's own tables must show as a difference instead of being shared by both sides. Do not
replace them by imports, and do not use this package outside of tests.

records    raw records -> typed records or refusals; which version of a record counts
outcomes   records -> one outcome per message: status, durations, measures
metrics    outcomes -> metrics; the answer to any query
marts      outcomes -> the rows of every published mart

Times are aware datetimes in UTC. Amounts are Decimal. A rate is one integer divided by another,
as the last step.
"""
