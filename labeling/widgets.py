"""The attributes of form controls."""

CONTROL = {"class": "form-control"}
SELECT = {"class": "form-select"}
