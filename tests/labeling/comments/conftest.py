"""The desk that tests of comments start from: that of the labeling screen."""

from tests.labeling.annotation.conftest import desk

__all__ = ["desk"]
