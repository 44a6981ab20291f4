"""What stands around the gateways: cores, processes, Redis with its sessions, the upstream, the certificate."""

import dataclasses
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

TOKENS = 10_000
CONNECTIONS = 64
BODY = 1024

PERMISSIONS = ["orders:read", "orders:write", "invoices:read", "customers:read", "stock:read", "reports:read"]
ROLES = ["clerk", "auditor"]


class Failed(Exception):
    """The measurement cannot be made or would not be fair."""


class Stage:
    """A temporary directory, the two sets of cores, and every process on them."""

    def __init__(self):
        cores = sorted(os.sched_getaffinity(0))
        self.gateway_cores = str(cores[0])
        self.other_cores = ",".join(map(str, cores[1:])) or str(cores[0])
        self.shared_core = len(cores) < 2
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="drawbridge-bench-"))
        # nginx workers started by root run as another user and read their Lua from here.
        self.dir.chmod(0o755)
        self.processes = []

    def command(self, args, cores):
        # pdeathsig: nothing outlives this script, however it dies.
        return ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", cores, *map(str, args)]

    def start(self, name, args, cores, env=None):
        log = open(self.dir / f"{name}.log", "wb")
        process = subprocess.Popen(
            self.command(args, cores),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        log.close()
        self.processes.append(process)
        return process

    def log(self, name):
        return (self.dir / f"{name}.log").read_text(errors="replace")

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(stage, name, process, port):
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"{name} ended with {process.returncode}:\n{stage.log(name)}")
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Failed(f"{name} does not listen on port {port}:\n{stage.log(name)}")


def only_child(pid):
    """nginx's master starts its worker a moment after it listens."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) == 1:
            return int(children[0])
        time.sleep(0.02)
    raise Failed(f"nginx (pid {pid}) does not have exactly one worker")


def cpu_ns(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def rss_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@dataclasses.dataclass
class Surroundings:
    stage: Stage
    redis_port: int
    upstream_port: int
    cert: pathlib.Path
    key: pathlib.Path
    tokens: list
    poor_token: str
    drawbridge: pathlib.Path | None


def nginx_config(stage, name, http, main="", events="worker_connections 4096;"):
    home = stage.dir / name
    home.mkdir()
    temp = "".join(
        f"{kind}_temp_path {home}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    )
    path = stage.dir / f"{name}.conf"
    path.write_text(
        f"{main}\ndaemon off;\nworker_processes 1;\nworker_rlimit_nofile 8192;\npid {home}/pid;\n"
        f"error_log stderr error;\nevents {{ {events} }}\nhttp {{\naccess_log off;\n{temp}{http}\n}}\n"
    )
    return ["nginx", "-e", "stderr", "-p", home, "-c", path]


def start_upstream(stage):
    port = free_port()
    echo = ["x-user-id", "x-user-permissions", "x-user-roles", "x-device-id", "x-device-type", "x-request-id"]
    echo += ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "authorization"]
    text = "\\n".join(f"{name}: $http_{name.replace('-', '_')}" for name in echo)
    http = f"""
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
        server {{
            listen 127.0.0.1:{port} backlog=4096;
            default_type text/plain;
            location / {{ return 200 "{"x" * BODY}"; }}
            location ~ /echo$ {{ return 200 "{text}\\n"; }}
            location = /count {{ stub_status; }}
        }}"""
    args = nginx_config(stage, "upstream", http)
    wait_for_port(stage, "upstream", stage.start("upstream", args, stage.other_cores), port)
    return port


def upstream_count(port):
    """Requests the upstream has had, this one not counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/count", timeout=10) as answer:
        numbers = answer.read().decode().splitlines()[2].split()
    upstream_count.own += 1
    return int(numbers[2]) - upstream_count.own


upstream_count.own = 0


def start_redis(stage, name="redis"):
    port = free_port()
    args = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = stage.start(name, [*args, "--dir", stage.dir], stage.other_cores)
    wait_for_port(stage, name, process, port)
    return port


def fill_redis(port, count=TOKENS):
    """So many sessions that may pass, and one that may not."""
    lifetime = 12 * 3600
    tokens = [f"dbt_{secrets.token_urlsafe(24)}" for _ in range(count + 1)]
    commands = bytearray()
    for i, token in enumerate(tokens):
        session = {
            "user_id": f"u-{i}",
            "device": {"id": f"d-{i:08}", "type": "phone", "name": "Pixel 12"},
            "permissions": PERMISSIONS if i < count else PERMISSIONS[2:],
            "roles": ROLES,
            "expires_at": int(time.time()) + lifetime,
        }
        parts = ["SET", f"login:token:{token}", json.dumps(session, separators=(",", ":")), "EX", str(lifetime)]
        commands += f"*{len(parts)}\r\n".encode()
        for part in map(str.encode, parts):
            commands += b"$%d\r\n%b\r\n" % (len(part), part)
    with socket.create_connection(("127.0.0.1", port)) as s, s.makefile("rb") as replies:
        for at in range(0, len(commands), 65536):
            s.sendall(commands[at : at + 65536])
        for _ in tokens:
            if replies.readline() != b"+OK\r\n":
                raise Failed("redis did not take a session")
    return tokens[:-1], tokens[-1]


def make_certificate(stage):
    cert, key = stage.dir / "cert.pem", stage.dir / "key.pem"
    args = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7"]
    args += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*args, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key
