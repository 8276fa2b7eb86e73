"""The published file in a BI tool of somebody else: Apache Superset, in an environment of its own.

Nothing of the product imports this folder.
"""
