"""Memory of idle connections: resident bytes that each TLS keep-alive connection adds to a gateway's process.

Started by run.sh as `benches/run.sh memory`. Each connection makes one request, so that every buffer has been used, and
then lies idle while the process is weighed.
"""

import resource
import socket
import ssl
import sys
import time

from contenders import CONTENDERS
from stage import Failed, rss_mib

# One more than a connection: what a process needs for the first of them is not the price of the next.
FIRST = 500
IDLE = 3_000
# In the gateway's process, KiB each. nginx takes 15, a naive hyper server 28, both measured once on this machine.
BAR_KIB = 20.0


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


def measure(around):
    """Rows: what, value, bar, whether it is met."""
    allow_files()
    rows = []
    for name, bar in (("nginx-plain", None), ("drawbridge-auth", BAR_KIB)):
        each = weigh(name, around)
        print(f"memory: {name:18} {each:6.1f} KiB an idle connection", file=sys.stderr)
        title = f"{CONTENDERS[name].title}: idle TLS keep-alive connection"
        rows.append((title, f"{each:.1f} KiB", f"≤ {bar:.0f} KiB" if bar else "", bar is None or each <= bar))
    return rows
