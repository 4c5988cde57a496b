"""The larger model that is asked where the answer of a release is not good enough."""
