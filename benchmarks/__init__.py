"""Measurements of the product, as ratios taken in one run. No test lives here."""
