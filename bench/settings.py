"""The project's settings, with the number of queries of each response in a header."""

from slmstudio.settings import *  # noqa: F403
from slmstudio.settings import MIDDLEWARE

MIDDLEWARE = ["bench.counting.count_queries", *MIDDLEWARE]
