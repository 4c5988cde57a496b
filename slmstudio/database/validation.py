"""Validation of rows that the application makes itself."""

from django.db.models import Model


def validate_fields(row: Model) -> None:
    """Validates the values of a row, without a query.

    ``full_clean`` looks up each related row, which the caller has as an object, and asks the database about each
    constraint, which it checks at the insert anyway.

    Raises:
        ValidationError: a value is not one of its field.
    """
    related = {field.name for field in row._meta.concrete_fields if field.is_relation}
    row.full_clean(exclude=related, validate_unique=False, validate_constraints=False)
