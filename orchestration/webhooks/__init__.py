"""Callbacks that messaging providers posted, read as messages and events.

`reading` is what every provider's module builds on, `requests` takes requests apart into results,
and each provider has one module that says what its results mean. No file is opened here but the
providers' tables of codes in `seeds/webhooks`, and no table is written: that is `loading.webhooks`.
A new provider is a module here, listed in `providers`, a table of codes and a file of samples.
"""
