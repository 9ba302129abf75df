"""Local stores of trackers, a module each: ``is_store(path)``, cheap, and ``recordings(path, notes)``, a run each.

``is_store`` looks at names, markers and first bytes, imports no tracker's library and raises nothing. ``recordings``
raises `RunReadError` where a file that was named cannot be read at all, and `MissingExtraError` where it takes an
extra; whatever else is wrong is told in the notes, some of it only while rows are read.
"""
