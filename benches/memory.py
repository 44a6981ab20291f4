"""Memory: resident bytes that each idle TLS keep-alive connection and a million sessions in memory add to a gateway's
process.

Started by run.sh as `benches/run.sh --part memory`. Each connection makes one request, so that every buffer has been used, and
then lies idle while the process is weighed.
"""

import dataclasses
import pathlib
import re
import resource
import socket
import ssl
import sys
import time
import urllib.request

from contenders import CONTENDERS, start_drawbridge
from stage import CONNECTIONS, Failed, fill_redis, free_port, rss_mib, start_redis, upstream_count

HERE = pathlib.Path(__file__).resolve().parent

# One more than a connection: what a process needs for the first of them is not the price of the next.
FIRST = 500
IDLE = 3_000
# In the gateway's process, KiB each. nginx takes 15, a naive hyper server 28, both measured once on this machine.
BAR_KIB = 20.0
# What is asked for so that the process has what it needs for the first sessions; then all of them.
FEW, SESSIONS = 10_000, 1_000_000
BAR_SESSIONS_MIB = 400.0


def allow_files():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < IDLE + 200:
        raise Failed(f"{IDLE} connections need more than the {most} files that are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def connect(context, contender, token):
    s = context.wrap_socket(socket.create_connection(("127.0.0.1", contender.port), 10))
    request = f"GET {contender.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    s.sendall(request.encode())
    head, body = b"", b""
    while b"\r\n\r\n" not in head:
        head += receive(s)
    head, _, body = head.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if not head.startswith(b"HTTP/1.1 200 "):
        raise Failed(f"an idle connection's request was answered {head[:40]!r}")
    while len(body) < int(fields[b"content-length"]):
        body += receive(s)
    return s


def receive(s):
    part = s.recv(65536)
    if not part:
        raise Failed("a connection that should lie idle was closed")
    return part


def weigh(name, around):
    contender = CONTENDERS[name]
    contender.pid, contender.port = contender.start(around, f"memory-{name}")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    idle = []
    try:
        readings = []
        for wanted in (FIRST, FIRST + IDLE):
            while len(idle) < wanted:
                idle.append(connect(context, contender, around.tokens[len(idle)]))
            time.sleep(1)
            readings.append(rss_mib(contender.pid))
        for s in (idle[0], idle[-1]):
            s.setblocking(False)
            try:
                if s.recv(1) == b"":
                    raise Failed("a connection did not stay open until it was weighed")
            except (ssl.SSLWantReadError, BlockingIOError):
                pass
    finally:
        for s in idle:
            s.close()
    before, after = readings
    return (after - before) * 1024 / IDLE


def walk(around, contender, tokens, name):
    """Asks for every token once."""
    stage = around.stage
    path = stage.dir / f"{name}.tokens"
    path.write_text("\n".join(tokens) + "\n")
    url = f"https://127.0.0.1:{contender.port}{contender.path}"
    before, answered = upstream_count(around.upstream_port), 0
    args = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d1800s", "-s", HERE / "walk.lua", url, "--", path]
    wrk = stage.start(name, args, stage.other_cores)
    deadline = time.monotonic() + 900
    # What is under way when the last token is handed out is a few more.
    while answered < len(tokens) + 4 * CONNECTIONS:
        time.sleep(0.5)
        answered = upstream_count(around.upstream_port) - before
        if wrk.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"only {answered} of {len(tokens)} were answered:\n{stage.log(name)}")
    wrk.terminate()
    wrk.wait(10)


def entries(port):
    """Sessions in memory, as the gateway says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return int(re.search(r"^drawbridge_cache_entries (\d+)", answer.read().decode(), re.M)[1])


def weigh_sessions(around, count):
    redis_port = start_redis(around.stage, "redis-million")
    tokens, poor = fill_redis(redis_port, count)
    own = dataclasses.replace(around, redis_port=redis_port, tokens=tokens, poor_token=poor)
    contender = dataclasses.replace(CONTENDERS["drawbridge-auth"])
    metrics = free_port()
    more = f'[cache]\nmax_sessions = {count + count // 10}\n[metrics]\nlisten = "127.0.0.1:{metrics}"'
    contender.pid, contender.port = start_drawbridge(own, "memory-sessions", more)
    few = min(FEW, count // 10)
    walk(own, contender, tokens[:few], "few")
    before, kept = rss_mib(contender.pid), entries(metrics)
    walk(own, contender, tokens, "all")
    time.sleep(1)
    after, all_kept = rss_mib(contender.pid), entries(metrics)
    # wrk has the script make one request that it does not send.
    if kept < few - 2 or all_kept < count - 2:
        raise Failed(f"only {all_kept} of {count} sessions are in memory")
    return (after - before) * count / (count - few)


def measure(around, options):
    """Rows: what, value, bar, whether it is met."""
    allow_files()
    rows = []
    for name, bar in (("nginx-plain", None), ("drawbridge-auth", BAR_KIB)):
        each = weigh(name, around)
        print(f"memory: {name:18} {each:6.1f} KiB an idle connection", file=sys.stderr)
        title = f"{CONTENDERS[name].title}: idle TLS keep-alive connection"
        rows.append((title, f"{each:.1f} KiB", f"≤ {bar:.0f} KiB" if bar else "", bar is None or each <= bar))
    count = SESSIONS // 20 if options.quick else SESSIONS
    mib = weigh_sessions(around, count) * SESSIONS / count
    print(f"memory: {mib:.0f} MiB for a million sessions", file=sys.stderr)
    how = " (from 50,000)" if options.quick else ""
    rows.append((f"a million sessions in memory{how}", f"{mib:.0f} MiB", f"≤ {BAR_SESSIONS_MIB:.0f} MiB", mib <= BAR_SESSIONS_MIB))
    return rows
