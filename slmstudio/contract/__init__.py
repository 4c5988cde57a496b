"""The contract: everything that one JSON Schema defines.

Pure Python, no Django, no torch. ``schema`` compiles and validates, ``values`` compares values and finds them in a
document, ``rules`` checks invariants, ``decoding`` builds grammars for constrained decoding, ``scoring`` compares an
output with gold.
"""
