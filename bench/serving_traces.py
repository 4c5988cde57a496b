"""What a trace costs a request: ``python -m bench.serving_traces``.

The time that a request spends on its timeline and on handing over its trace, and the processor time of the thread that
sends, at 200 requests a second: with a collector that answers, and with an address where none is.
"""

import argparse
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.studio import studio
from bench.timing import percentile, table

PER_SECOND = 200


class _Collector(BaseHTTPRequestHandler):
    """Takes everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Nothing on the terminal."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000)
    options = parser.parse_args()
    with studio(web_workers=1), ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rows = [
            (name, *_measured(url, options.requests))
            for name, url in (
                ("answers", f"http://127.0.0.1:{server.server_port}/v1/traces"),
                ("none there", "http://127.0.0.1:1/v1/traces"),
            )
        ]
        server.shutdown()
    heads = ("collector", "p50, us", "p99", "processor", "waiting", "dropped")
    print(table(f"A request's time for its trace, at {PER_SECOND} requests/s", heads, rows))


def _measured(url: str, number: int) -> tuple[str, ...]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from serving.gateway.request_log import LogEntry, now
    from serving.gateway.routes import RouteTable
    from serving.gateway.tracing import timeline
    from serving.gateway.tracing.traces import Tracer

    tracer = Tracer(OTLPSpanExporter(endpoint=url), RouteTable())
    times = []
    processor, began = time.process_time(), time.perf_counter()
    for index in range(number):
        entry = LogEntry(id=str(uuid.uuid4()), created_at=now(), project_id=1, protocol="extract", status=200)
        started = time.perf_counter()
        timeline.begin("")
        with timeline.step("model"):
            pass
        with timeline.step("validation"):
            pass
        tracer.record(entry, timeline.current(), started=started)
        times.append((time.perf_counter() - started) * 1e6)
        time.sleep(max(0.0, began + (index + 1) / PER_SECOND - time.perf_counter()))
    share = (time.process_time() - processor) / (time.perf_counter() - began)
    waiting = len(tracer._waiting)
    tracer.close()
    figures = f"{percentile(times, 0.5):.0f}", f"{percentile(times, 0.99):.0f}", f"{share:.1%}"
    return (*figures, str(waiting), str(tracer.dropped))


if __name__ == "__main__":
    main()
