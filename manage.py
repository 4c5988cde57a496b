#!/usr/bin/env python
"""The command line of a checkout; see ``slmstudio/__main__.py``."""

from slmstudio.__main__ import main

if __name__ == "__main__":
    main()
