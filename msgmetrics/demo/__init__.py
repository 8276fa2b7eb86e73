"""Demo landing data: invented traffic, written as the files that other systems would drop.

`generate` is the whole interface. The modules, in the order in which data flows through them:

    channels    how each channel behaves: shares, outcomes, delays, engagement
    world       who sends and where to: accounts, addresses, countries, networks, prices
    volume      how many messages are sent when, and the slices in which they are made
    traffic     the messages of one slice, as columns of numbers
    funnel      what happens to those messages: their events, as columns of numbers
    records     those columns as records, and records as JSON Lines, CSV or Parquet
    defects     the broken records and where they go
    generator   the loop over the slices: arrival, repeats, corrections, files

Nothing here is read by the pipeline or by the endpoint.
"""

from msgmetrics.demo.generator import DemoSummary, generate

__all__ = ["DemoSummary", "generate"]
