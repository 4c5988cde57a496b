"""Simulated users who type concurrently at human speed over a slow network with reordered responses."""

import heapq
import time
from collections.abc import Iterator
from random import Random

from playwright.sync_api import Page

#: one hand: does something at each step and yields how many milliseconds pass before the next
Hand = Iterator[float]

_SLOW_NETWORK = """([seed, most]) => {
    // mulberry32: the same delays for the same seed
    let state = seed;
    const random = () => {
        state = (state + 0x6D2B79F5) | 0;
        let t = Math.imul(state ^ (state >>> 15), 1 | state);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    const { fetch } = window;
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    window.fetch = async (...request) => {
        const total = random() * most;
        const there = random() * total;
        await pause(there);
        const answer = await fetch(...request);
        await pause(total - there);
        return answer;
    };
}"""


def slow_network(page: Page, seed: int, most: int = 800) -> None:
    """Delays each request of the page by up to ``most`` ms, part of it before and part after the server answers.

    Each request has its own delay, so answers come out of order.
    """
    page.evaluate(_SLOW_NETWORK, [seed, most])


def together(hands: list[Hand], page: Page) -> None:
    """Runs several hands at once until all have finished. ``page`` is any open page: it waits."""
    due = [(time.monotonic(), number) for number in range(len(hands))]
    while due:
        at, number = heapq.heappop(due)
        if (wait := at - time.monotonic()) > 0:
            page.wait_for_timeout(wait * 1000)
        pause = next(hands[number], None)
        if pause is not None:
            heapq.heappush(due, (time.monotonic() + pause / 1000, number))


def types(page: Page, text: str, delay: float) -> Hand:
    """Types a text, one key every ``delay`` ms."""
    for character in text:
        page.keyboard.type(character)
        yield delay


def presses(page: Page, *keys: str, delay: float) -> Hand:
    """Presses keys, one every ``delay`` ms."""
    for key in keys:
        page.keyboard.press(key)
        yield delay


class Rhythm:
    """A person's rhythm: 40 to 300 ms a key, another speed every few keys, now and then a pause."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.left, self.speed = 0, 0.0

    def __call__(self) -> float:
        """Milliseconds to the next key."""
        if not self.left:
            self.left, self.speed = self.random.randint(4, 25), 40 * 7.5 ** self.random.random()
        self.left -= 1
        pause = self.random.uniform(300, 1300) if self.random.random() < 0.02 else 0
        return min(300, max(40, self.speed * self.random.uniform(0.8, 1.2))) + pause
