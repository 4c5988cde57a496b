"""Endpoints: the external models of a project, their pages, and permits to send them hold-out documents."""
