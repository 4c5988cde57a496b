"""The log of requests: lines in files first, rows of the database soon after."""
