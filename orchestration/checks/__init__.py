"""Checks that stand by themselves: the last gate before publication.

Shape of arrivals is judged by loading, keys and relations by dbt data tests, formulas by dbt unit
tests; here stands only "may this be served?".
"""
