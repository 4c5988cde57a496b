"""Contract changes: the audit entry, and a hook for apps that derive something from a contract."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User

from labeling.models import Contract, Project
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema, loads
from slmstudio.hooks import Hook, note_audit


@dataclass(frozen=True)
class ContractState:
    """A contract at one moment."""

    instruction: str
    constraints: dict[str, Any]
    schema_number: int
    schema_sha256: str
    schema_text: str

    @property
    def compiled(self) -> CompiledSchema:
        """Its compiled schema."""
        return compile_schema(loads(self.schema_text))


#: called with ``project``, ``user``, ``before`` and ``after`` (``ContractState``) in the transaction of the change
contract_changed: Hook[..., object] = Hook()


def state(project: Project) -> ContractState:
    """The current contract."""
    contract, version = Contract.objects.get(project=project), project.schema_version
    return ContractState(
        contract.instruction, dict(contract.constraints), version.number, version.sha256, version.schema_text
    )


def record(*, project: Project, user: User | None, before: ContractState) -> None:
    """Records the changes since ``before``, if there are any."""
    after = state(project)
    details = {
        name: {"before": getattr(before, name), "after": getattr(after, name)}
        for name in ("instruction", "constraints", "schema_number", "schema_sha256")
        if getattr(before, name) != getattr(after, name)
    }
    if not details:
        return
    note_audit(project=project, user=user, action="changed", about="contract", details=details)
    contract_changed.call(project=project, user=user, before=before, after=after)
