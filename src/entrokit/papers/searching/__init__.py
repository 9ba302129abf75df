"""Entries of this shelf, one file a paper; discovered."""
