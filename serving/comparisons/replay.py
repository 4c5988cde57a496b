"""Replayed requests: logged ones that a candidate in shadow answers again, where the traffic is too small.

The job sends them to the gateway, which answers them when no caller waits. Their pairs count as evidence of the
rollout, and for labeled documents.
"""

import time
from typing import Any

import httpx
from django.conf import settings

from serving.gateway.tokens import issue_pass
from serving.models import Deployment, RequestLog, Stage, TrafficComparison
from serving.rollouts.log_counts import pending
from slmstudio.contract.output_json import extract_json
from slmstudio.errors import Refused
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.reaper import reap_lost_runs
from training.job_failures import FailureHandler

MAX_REQUESTS = 20_000
#: seconds between two tries of a request while others are answered
PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0
_BATCH = 100
#: consecutive requests without any response, after which it fails
_MAX_UNREACHABLE = 60


def run_replay(pk: int) -> None:
    """Runs a replay, or goes on with one: what the candidate answered is in the log."""
    reap_lost_runs()
    replay = TrafficComparison.objects.replays().with_versions().filter(pk=pk).first()
    if replay is None or not replay.claim_attempt():
        return
    timeout = settings.GATEWAY_TIMEOUT_SECONDS + 5
    with FailureHandler(replay), keep_alive(replay), httpx.Client(timeout=timeout, trust_env=False) as client:
        _run(replay, client)


def _run(replay: TrafficComparison, client: httpx.Client) -> None:
    # Those that an earlier attempt sent are not pending any more.
    left = pending(replay.project, replay.a, replay.b, replay.progress_total - replay.progress_done)
    done = replay.progress_done
    failed, skipped = (int(replay.result.get(name, 0)) for name in ("failed", "skipped"))
    for at in range(0, len(left), _BATCH):
        keys = left[at : at + _BATCH]
        days, ids = {day for day, _ in keys}, [pk for _, pk in keys]
        rows = {row.id: row for row in RequestLog.objects.filter(day__in=days, id__in=ids)}
        for pk in ids:
            row = rows.get(pk)
            sent = _send(replay, client, row) if row is not None and row.text else None
            done, failed, skipped = done + 1, failed + (sent is False), skipped + (sent is None)
            result = {"failed": failed, "skipped": skipped}
            if not replay.send_heartbeat(stage="replaying", progress_done=done, result=result):
                replay.cancelled(progress_done=done, result=result)
                return
    replay.finish(progress_done=done, progress_total=done, result={"failed": failed, "skipped": skipped})


def _send(replay: TrafficComparison, client: httpx.Client, row: RequestLog) -> bool | None:
    """Whether the candidate answered with a valid output; None where it is not to be asked any more."""
    url = f"{str(settings.GATEWAY_URL).rstrip('/')}/api/v1/projects/{replay.project.slug}/replay"
    body = {"text": row.text, "request_id": str(row.id), "version": replay.b.number, "key": row.key_sha256}
    if row.valid:
        body["output"] = extract_json(row.output)[1]
    pause, unreachable = PAUSE_SECONDS, 0
    while True:
        status, answered = _post(client, url, replay.project.slug, body)
        if status == 200:
            return answered == 200
        if status == 409:
            # Its replicas may be starting again.
            if not Deployment.objects.filter(candidate=replay.b_id, stage=Stage.SHADOW).exists():
                raise Refused("The candidate is no longer in shadow.")
        elif status not in (0, 401, 429, 503):
            return False
        unreachable = unreachable + 1 if status in (0, 401, 409, 503) else 0
        if unreachable >= _MAX_UNREACHABLE:
            raise Refused("The gateway or the candidate does not respond.")
        if not replay.send_heartbeat(stage="waiting for live traffic" if status == 429 else "waiting for the gateway"):
            return None
        time.sleep(pause)
        pause = min(MAX_PAUSE_SECONDS, 1.5 * pause)


def _post(client: httpx.Client, url: str, slug: str, body: dict[str, Any]) -> tuple[int, int]:
    """Status of the gateway, and of the candidate's answer; 0: none."""
    headers = {"Authorization": f"Bearer {issue_pass(f'{slug} replay')}"}
    try:
        response = client.post(url, json=body, headers=headers)
        return response.status_code, int(response.json()["status"]) if response.status_code == 200 else 0
    except (httpx.HTTPError, ValueError):
        return 0, 0
