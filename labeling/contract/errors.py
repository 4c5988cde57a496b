"""The error of an invalid contract."""


class ContractError(ValueError):
    """A contract is invalid. ``errors``: a message per field (instruction, schema, a constraint, form)."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))
        self.errors = errors
