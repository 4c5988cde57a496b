"""The document list: filters, orders, search, counts and rows. Read-only.

``filters`` parses the query string; ``conditions`` and ``field_filters`` turn it into SQL; ``search`` finds a page and
``counts`` the total; ``choices`` has the filter form and its chips; ``rows`` is the content of a page.
"""
