"""The contract: everything one JSON Schema drives.

Pure Python, no Django, no torch. ``schema`` compiles and validates, ``kinds`` compares values, ``evidence`` finds them
in a document, ``invariants`` checks arithmetic and dates, ``grammar`` says what a decoder may write, ``scoring`` turns
an output and a gold value into outcomes.
"""
