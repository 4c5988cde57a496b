"""The REST interface of the labeling app: the services of the pages, without rules of its own."""
