"""Checks an evidence bundle with the Python standard library alone; a copy of this package is in every bundle.

It shares no line with the application: what a score or a bound is was written from the protocol in
``docs/evaluation.md``, so that an error of the application is not repeated here.
"""
