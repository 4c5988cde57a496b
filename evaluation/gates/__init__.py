"""Gates: policies, verdicts, and the facts that they rest on."""
