"""Requests in the log, by the minute."""

import uuid
from datetime import UTC, datetime
from typing import Any

from serving.models import RequestLog


def logged(project_id: int, at: datetime, number: int = 1, **changes: Any) -> list[RequestLog]:
    """Requests of callers at a moment; ``changes``: columns that differ."""
    rows = [
        RequestLog(
            id=uuid.uuid4(), day=at.astimezone(UTC).date(), created_at=at, project_id=project_id,
            **{
                "source": "stable", "protocol": "extract", "status": 200, "valid": True, "prompt_tokens": 30,
                "output_tokens": 10, "total_ms": 100.0, "queue_ms": 5.0, "model_ms": 90.0,
                "key_sha256": uuid.uuid4().hex, **changes,
            },
        )
        for _ in range(number)
    ]  # fmt: skip
    return RequestLog.objects.bulk_create(rows)
