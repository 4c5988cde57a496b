"""The list of documents: what it is filtered and sorted by, and how its rows are found quickly.

``filters`` reads an address's query string, ``conditions`` and ``fields`` turn it into SQL, ``finding`` finds a page or
counts, ``choices`` says what can be chosen, ``rows`` is what a row shows. None of it writes.
"""
