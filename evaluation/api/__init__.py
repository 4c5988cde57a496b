"""Evaluations, gate reports, decisions and external models over REST: the services of the pages."""
