"""From landing files to raw tables: found, read, judged, and counted exactly once.

`landing` finds files and tells new ones from known ones; `records` says what a valid record is;
`readers` turns each file format into rows of text; `loader` brings it together, a transaction at
a time. De-duplication, defaults and mappings are no concern of a load: staging does those.
"""
