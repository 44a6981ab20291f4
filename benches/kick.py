"""From a kick at one gateway to the refusal at another, while the other one is under load: how long, and how it spreads.
Started by run.sh as `benches/run.sh --part kick`; draws kick.svg beside this file.

Each session is in the other gateway's memory when the kick is sent. The clock starts before the kick is sent and stops
when the first refusal has arrived, so it holds the kick itself, the way through Redis, and the request that is refused.
"""

import hashlib
import http.client
import json
import math
import pathlib
import ssl
import sys
import time

from contenders import start_drawbridge
from stage import CONNECTIONS, Failed, free_port

KICKS = 1_000
BAR_MS = 10.0
KEY = "dba_" + "k" * 43
SVG = pathlib.Path(__file__).resolve().parent / "kick.svg"


def start(around, name, admin):
    more = f"""
        [sessions]

        [admin]
        listen = "127.0.0.1:{admin}"
        keys = [{{ name = "bench", sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}", scopes = ["sessions:write"] }}]
        """
    return start_drawbridge(around, name, more)


def call(connection, method, path, headers, body=None):
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


class Pair:
    """Whoever kicks, and whoever is to refuse."""

    def __init__(self, around):
        port = free_port()
        start(around, "kick-here", port)
        self.admin = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.pid, self.port = start(around, "kick-there", free_port())
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.there = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        self.right = {"Authorization": f"Bearer {KEY}"}

    def open(self, number):
        body = json.dumps({"user_id": f"kicked-{number}", "permissions": ["orders:read"]})
        headers = {**self.right, "Content-Type": "application/json"}
        status, answer = call(self.admin, "POST", "/v1/sessions", headers, body)
        if status != 201:
            raise Failed(f"a session was answered {status}: {answer[:200]!r}")
        told = json.loads(answer)
        return told["access_token"], told["session"]["sid"]

    def ask(self, token):
        return call(self.there, "GET", "/", {"Authorization": f"Bearer {token}"})[0]

    def kick(self, number):
        """Seconds until it was refused."""
        token, sid = self.open(number)
        for _ in range(3):
            if self.ask(token) != 200:
                raise Failed("a new session is not let in")
        began = time.perf_counter()
        self.admin.request("DELETE", f"/v1/users/kicked-{number}/sessions/{sid}", None, self.right)
        while (status := self.ask(token)) == 200:
            if time.perf_counter() - began > 10:
                raise Failed("a kicked session was let in for ten seconds")
        took = time.perf_counter() - began
        answer = self.admin.getresponse()
        if status != 401 or answer.status != 200:
            raise Failed(f"a kick was answered {answer.status}, a kicked session {status}")
        answer.read()
        return took


def percentile(values, share):
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def draw(millis, marks):
    """The share of kicks that were through by then, over a logarithmic axis of time."""
    left, top, width, height = 60, 40, 640, 300
    low, high = 0.1, max(20.0, millis[-1] * 1.2)
    x = lambda ms: left + width * math.log(max(ms, low) / low) / math.log(high / low)
    y = lambda share: top + height * (1 - share)
    steps = [(x(ms), y((i + 1) / len(millis))) for i, ms in enumerate(millis)]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in [(steps[0][0], y(0)), *steps])
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if t <= high]
    text = lambda a, b, words, more="": f'<text x="{a:.1f}" y="{b:.1f}" {more}>{words}</text>'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 40} {top + height + 60}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        text(left, 22, f"From a kick to its refusal at another gateway under load, {len(millis):,} kicks", 'font-size="14"'),
    ]
    for t in ticks:
        parts.append(f'<path d="M{x(t):.1f} {top}V{top + height}" stroke="#ddd"/>')
        parts.append(text(x(t), top + height + 18, f"{t:g} ms", 'text-anchor="middle"'))
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<path d="M{left} {y(share):.1f}H{left + width}" stroke="#ddd"/>')
        parts.append(text(left - 8, y(share) + 4, f"{share:.0%}", 'text-anchor="end"'))
    parts.append(f'<path d="M{x(BAR_MS):.1f} {top}V{top + height}" stroke="#c00" stroke-dasharray="6 4"/>')
    parts.append(text(x(BAR_MS) + 6, top + 14, "the bar for p99", 'fill="#c00"'))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#06c" stroke-width="2"/>')
    told = "   ".join(f"{name} {ms:.2f} ms" for name, ms in marks)
    parts.append(text(left, top + height + 44, told))
    return "\n".join([*parts, "</svg>"]) + "\n"


def measure(around, options):
    """Rows: what, value, bar, whether it is met."""
    pair = Pair(around)
    count = 100 if options.quick else KICKS
    stage = around.stage
    url = f"https://127.0.0.1:{pair.port}/"
    load = pathlib.Path(__file__).resolve().parent / "load.lua"
    args = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d600s", "-s", load, url, "--", stage.dir / "tokens", 1, "kept"]
    wrk = stage.start("kick-wrk", args, stage.other_cores)
    time.sleep(2)
    try:
        took = sorted(1000 * pair.kick(number) for number in range(count))
        if wrk.poll() is not None:
            raise Failed(f"the load broke off:\n{stage.log('kick-wrk')}")
    finally:
        wrk.terminate()
        wrk.wait(10)
    p99 = percentile(took, 0.99)
    marks = [("p50", percentile(took, 0.5)), ("p99", p99), ("max", took[-1])]
    if not options.quick:
        SVG.write_text(draw(took, marks))
    print("kick: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in marks), file=sys.stderr)
    rows = [(f"kick → refused elsewhere, under load, {name}", f"{ms:.2f} ms", "", True) for name, ms in marks]
    rows[1] = (rows[1][0], rows[1][1], f"≤ {BAR_MS:.0f} ms", p99 <= BAR_MS)
    return rows
