"""How long pages take during 40 concurrent sign-in attempts, as a ratio to the same pages alone.

    .venv/bin/python -m bench.sign_in

Real sockets, two web processes, Argon2 as in production. Attempts continue until the pages are loaded.
"""

import http.client
import threading
import time
from urllib.parse import urlencode

from bench.studio import Browser, studio
from bench.timing import percentile, table

ATTEMPTS = 40
PAGES = ("/healthz", "/")
ROUNDS = 30


def main() -> None:
    """Measures pages alone, then during the attempts."""
    with studio(web_workers=2) as running:
        from django.contrib.auth import get_user_model

        browser = Browser(running.port, get_user_model().objects.create_user("ana", password="x"))
        _load(browser)
        alone = _load(browser)
        done = threading.Event()
        codes: list[int] = []
        threads = [threading.Thread(target=_attempt, args=(running.port, n, done, codes)) for n in range(ATTEMPTS)]
        for thread in threads:
            thread.start()
        during = _load(browser)
        done.set()
        for thread in threads:
            thread.join()
        browser.close()
    rows = []
    for name, share in (("median", 0.5), ("p95", 0.95), ("slowest", 1.0)):
        before, after = percentile(alone, share), percentile(during, share)
        rows.append((name, f"{before:.1f}", f"{after:.1f}", f"{after / before:.2f}"))
    title = (
        f"Pages during {ATTEMPTS} concurrent sign-in attempts ({len(codes)} made, {codes.count(429)} answered 429), ms"
    )
    print(table(title, ("", "alone", "during", "ratio"), rows))


def _load(browser: Browser) -> list[float]:
    times = []
    for _ in range(ROUNDS):
        for path in PAGES:
            answer = browser.get(path)
            if answer.status != 200:
                raise SystemExit(f"{path} answered {answer.status}.")
            times.append(answer.milliseconds)
            time.sleep(0.02)
    return times


def _attempt(port: int, number: int, done: threading.Event, codes: list[int]) -> None:
    token = "c" * 32
    headers = {"Cookie": f"csrftoken={token}", "Content-Type": "application/x-www-form-urlencoded"}
    turn = 0
    while not done.is_set():
        turn += 1
        body = urlencode({"username": f"name-{number}-{turn}", "password": "x", "csrfmiddlewaretoken": token})
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/login/", body, headers)
        codes.append(connection.getresponse().status)
        connection.close()


if __name__ == "__main__":
    main()
