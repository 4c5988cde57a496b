"""The error of an invalid contract."""


class ContractError(ValueError):
    """A contract is invalid. ``errors``: a message per field (instruction, schema, a constraint, form). ``path`` is the
    place of the error in the schema (``properties.date.format``), or ``line`` its line, where it is not JSON.
    """

    def __init__(self, errors: dict[str, str], path: str = "", line: int = 0) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))
        self.errors = errors
        self.path = path
        self.line = line
