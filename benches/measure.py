"""CPU per request of gateways that do the same work, measured in turns. Started by run.sh.

To add a contender: write a function that starts its gateway, and give it a row in CONTENDERS; to hold it to a
bar, add a row to RATIOS. Requests are counted at the upstream, CPU in the gateway's /proc/PID/task/*/schedstat,
both over the same stretch of one wrk run, so handshakes and start-up are outside.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import re
import secrets
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TOKENS = 10_000
CONNECTIONS = 64
BODY = 1024

PERMISSIONS = ["orders:read", "orders:write", "invoices:read", "customers:read", "stock:read", "reports:read"]
ROLES = ["clerk", "auditor"]


class Failed(Exception):
    """The measurement cannot be made or would not be fair."""


# ---- processes ----------------------------------------------------------------------------------------------


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


# ---- what stands around the gateways -------------------------------------------------------------------------


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


def start_redis(stage):
    port = free_port()
    args = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = stage.start("redis", [*args, "--dir", stage.dir], stage.other_cores)
    wait_for_port(stage, "redis", process, port)
    return port


def fill_redis(port):
    """TOKENS sessions that may pass, and one that may not."""
    lifetime = 12 * 3600
    tokens = [f"dbt_{secrets.token_urlsafe(24)}" for _ in range(TOKENS + 1)]
    commands = bytearray()
    for i, token in enumerate(tokens):
        session = {
            "user_id": f"u-{i}",
            "device": {"id": f"d-{i:08}", "type": "phone", "name": "Pixel 12"},
            "permissions": PERMISSIONS if i < TOKENS else PERMISSIONS[2:],
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


# ---- gateways: each starts one and returns (process id whose CPU counts, port) --------------------------------


def nginx_server(around, port, location):
    return f"""
        upstream service {{
            server 127.0.0.1:{around.upstream_port};
            keepalive 128;
            keepalive_requests 1000000000;
        }}
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
        server {{
            listen 127.0.0.1:{port} ssl backlog=4096;
            ssl_certificate {around.cert};
            ssl_certificate_key {around.key};
            ssl_protocols TLSv1.3;
            location / {{
                {location}
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_set_header Host $http_host;
                proxy_set_header X-Real-IP $remote_addr;
                proxy_set_header X-Forwarded-For $remote_addr;
                proxy_set_header X-Forwarded-Proto $scheme;
                proxy_set_header X-Forwarded-Host $http_host;
                proxy_pass http://service;
            }}
        }}"""


def start_nginx(around, name, http, port, main="", env=None):
    stage = around.stage
    args = nginx_config(stage, name, http, main)
    process = stage.start(name, args, stage.gateway_cores, env)
    wait_for_port(stage, name, process, port)
    return only_child(process.pid), port


def start_nginx_plain(around, name):
    port = free_port()
    return start_nginx(around, name, nginx_server(around, port, ""), port)


def start_nginx_lua(around, name):
    port = free_port()
    shutil.copy(HERE / "auth.lua", around.stage.dir / "auth.lua")
    identity = ["user_id", "user_permissions", "user_roles", "device_id", "device_type"]
    location = 'access_by_lua_block { require("auth").check() }\n'
    location += "".join(f'set ${field} "";\n' for field in identity)
    location += "".join(f"proxy_set_header X-{field.replace('_', '-').title()} ${field};\n" for field in identity)
    location += 'proxy_set_header X-Request-Id $request_id;\nproxy_set_header Authorization "";\n'
    # Without resty.core loaded once here the module would warn; with it, ngx.var goes through the faster FFI.
    http = f"""
        lua_package_path "{around.stage.dir}/?.lua;;";
        lua_socket_log_errors off;
        init_by_lua_block {{ require "auth" }}
        """ + nginx_server(around, port, location)
    modules = re.search(r"--modules-path=(\S+)", subprocess.run(["nginx", "-V"], capture_output=True, text=True).stderr)
    main = "".join(f"load_module {modules[1]}/{m}.so;\n" for m in ["ndk_http_module", "ngx_http_lua_module"])
    main += "env BENCH_REDIS_PORT;"
    return start_nginx(around, name, http, port, main, {"BENCH_REDIS_PORT": str(around.redis_port)})


def start_drawbridge(around, name):
    stage = around.stage
    port = free_port()
    config = stage.dir / f"{name}.toml"
    config.write_text(f"""
        [server]
        workers = 1

        [[listeners]]
        address = "127.0.0.1:{port}"
        tls = {{ certificates = [{{ cert = "{around.cert}", key = "{around.key}" }}], min_version = "1.3" }}

        [store]
        redis = "redis://127.0.0.1:{around.redis_port}"

        [log]
        format = "json"

        [upstreams.service]
        endpoints = ["http://127.0.0.1:{around.upstream_port}"]

        [[routes]]
        prefix = "/"
        require.all = ["orders:read"]
        upstream = "service"

        [[routes]]
        prefix = "/public"
        auth = "public"
        upstream = "service"
        """)
    process = stage.start(name, [around.drawbridge, "run", "--config", config], stage.gateway_cores)
    wait_for_port(stage, name, process, port)
    # setpriv and taskset replace themselves, so the process that was started is drawbridge.
    return process.pid, port


@dataclasses.dataclass
class Contender:
    title: str
    start: callable
    path: str
    judges: bool  # whether a session is needed and identity reaches the upstream
    pid: int = 0
    port: int = 0
    cipher: str = ""


CONTENDERS = {
    "nginx-plain": Contender("nginx, plain proxy", start_nginx_plain, "/", False),
    "nginx-lua": Contender("nginx + Lua + Redis", start_nginx_lua, "/", True),
    "drawbridge-auth": Contender("drawbridge, required route", start_drawbridge, "/", True),
    "drawbridge-public": Contender("drawbridge, public route", start_drawbridge, "/public", False),
}

# Numerator, denominator, and the most the ratio may be (None: for information).
RATIOS = [
    ("drawbridge-auth", "nginx-lua", 0.85),
    ("drawbridge-public", "nginx-plain", 1.0),
    ("drawbridge-auth", "nginx-plain", None),
    ("nginx-lua", "nginx-plain", None),
]


# ---- is the work really the same? ----------------------------------------------------------------------------


def ask(contender, path, headers):
    """One request over a fresh TLS connection: status, body, cipher."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{contender.port}", "Connection: close", *headers]
    with socket.create_connection(("127.0.0.1", contender.port), 10) as raw:
        with context.wrap_socket(raw) as s:
            s.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            answer = b""
            while part := s.recv(65536):
                answer += part
            cipher = f"{s.version()} {s.cipher()[0]}"
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode(), cipher


def verify(name, contender, around):
    """Refuses to measure a gateway that does less than its job."""
    forged = ["X-User-Id: forged", "x-user-permissions: forged", "X_User_Id: forged", "X-Device-Type: forged"]
    i = 4711
    token = f"Authorization: Bearer {around.tokens[i]}"
    echo = contender.path.rstrip("/") + "/echo"

    def expect(what, found, wanted):
        if found != wanted:
            raise Failed(f"{name}: {what} is {found!r}, not {wanted!r}\n{around.stage.log(name)}")

    status, body, contender.cipher = ask(contender, echo, [token, *(forged if contender.judges else [])])
    expect("the status", status, 200)
    seen = dict(line.split(": ", 1) for line in body.splitlines() if ": " in line)
    expect("X-Forwarded-For", seen.get("x-forwarded-for"), "127.0.0.1")
    expect("X-Forwarded-Proto", seen.get("x-forwarded-proto"), "https")
    expect("X-Forwarded-Host", seen.get("x-forwarded-host"), f"127.0.0.1:{contender.port}")
    expect("the size of a body", len(ask(contender, contender.path, [token])[1]), BODY)
    if not contender.judges:
        return
    expect("X-User-Id", seen.get("x-user-id"), f"u-{i}")
    expect("X-User-Permissions", seen.get("x-user-permissions"), ",".join(PERMISSIONS))
    expect("X-User-Roles", seen.get("x-user-roles"), ",".join(ROLES))
    expect("X-Device-Id", seen.get("x-device-id"), f"d-{i:08}")
    expect("X-Device-Type", seen.get("x-device-type"), "phone")
    expect("the request id's presence", len(seen.get("x-request-id", "")) >= 16, True)
    expect("the token that the upstream sees", seen.get("authorization", ""), "")
    expect("the status without a token", ask(contender, echo, forged)[0], 401)
    expect("the status of an unknown token", ask(contender, echo, ["Authorization: Bearer dbt_unknown"])[0], 401)
    poor = f"Authorization: Bearer {around.poor_token}"
    expect("the status without the permission", ask(contender, echo, [poor])[0], 403)


# ---- measuring -----------------------------------------------------------------------------------------------


def measure(name, contender, around, warm, seconds, seed):
    stage = around.stage
    # The tail keeps wrk busy past the second reading.
    duration = int(warm + seconds + 1)
    url = f"https://127.0.0.1:{contender.port}{contender.path}"
    args = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{duration}s", "-s", HERE / "load.lua", url, "--"]
    before = upstream_count(around.upstream_port)
    wrk = stage.start("wrk", [*args, stage.dir / "tokens", seed], stage.other_cores)
    time.sleep(warm)
    readings = []
    for pause in (seconds, 0):
        # CPU, clock, count within a millisecond of each other: at most a few dozen requests of some 50,000.
        readings.append((cpu_ns(contender.pid), time.monotonic_ns(), upstream_count(around.upstream_port)))
        time.sleep(pause)
    wrk.wait(duration + 10)
    total = upstream_count(around.upstream_port) - before
    found = re.search(r"^RESULT (.*)$", stage.log("wrk"), re.M)
    if not found:
        raise Failed(f"wrk failed against {name}:\n{stage.log('wrk')}")
    result = json.loads(found[1])
    if result["status"] or result["socket"]:
        raise Failed(f"{name}: {result['status']} refusals and {result['socket']} socket errors under load")
    # Requests under way when wrk hangs up are counted at the upstream only.
    if not 0 <= total - result["requests"] <= 2 * CONNECTIONS:
        raise Failed(f"{name}: the upstream had {total} requests, wrk {result['requests']}")
    cpu, wall, requests = (after - first for first, after in zip(*readings))
    return {
        "cpu_us": cpu / requests / 1000,
        "per_second": requests / wall * 1e9,
        "busy": cpu / wall,
        "rss_mib": rss_mib(contender.pid),
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
    }


def measure_all(contenders, around, options):
    rounds = {name: [] for name in contenders}
    order = list(contenders)
    for i in range(options.rounds):
        shift = i % len(order)
        for name in order[shift:] + order[:shift]:
            found = measure(name, contenders[name], around, options.warm, options.seconds, i)
            rounds[name].append(found)
            print(f"round {i + 1}: {name:18} {found['cpu_us']:6.2f} µs/request", file=sys.stderr)
    return rounds


# ---- telling -------------------------------------------------------------------------------------------------


def spread(values, form):
    return f"{statistics.median(values):{form}}", f"{min(values):{form}} .. {max(values):{form}}"


def judge(rounds):
    """Each ratio is taken within a round, where both sides had the same weather, and the median is judged."""
    verdicts = []
    for over, under, bar in RATIOS:
        if over not in rounds or under not in rounds:
            verdicts.append({"ratio": [over, under], "bar": bar, "verdict": "not measured"})
            continue
        values = [a["cpu_us"] / b["cpu_us"] for a, b in zip(rounds[over], rounds[under])]
        median = statistics.median(values)
        verdict = "" if bar is None else "PASS" if median <= bar else "FAIL"
        verdicts.append({"ratio": [over, under], "bar": bar, "verdict": verdict, "values": values, "median": median})
    return verdicts


def report(contenders, rounds, verdicts, options, stage):
    cores = f"gateway on core {stage.gateway_cores}, the rest on {stage.other_cores}"
    lines = [
        f"# CPU per request, {time.strftime('%Y-%m-%d %H:%M')}",
        "",
        f"{options.rounds} rounds of {options.seconds:g} s after {options.warm:g} s; HTTPS keep-alive, {CONNECTIONS} "
        f"connections, {TOKENS:,} tokens, {BODY} B answers; {cores}; {platform.release()}. "
        + ", ".join(sorted({contender.cipher for contender in contenders.values()}))
        + ". RSS is that of the process measured (nginx: its worker).",
        "",
        "| contender | µs/request | min .. max | req/s | core busy | p50 µs | p99 µs | RSS MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, contender in contenders.items():
        columns = {key: [found[key] for found in rounds[name]] for key in rounds[name][0]}
        cpu, between = spread(columns["cpu_us"], ".2f")
        middle = {key: statistics.median(values) for key, values in columns.items()}
        lines.append(
            f"| {contender.title} | {cpu} | {between} | {middle['per_second']:,.0f} | {middle['busy']:.0%} "
            f"| {middle['p50_us']:.0f} | {middle['p99_us']:.0f} | {max(columns['rss_mib']):.1f} |"
        )
    lines += ["", "| ratio | median | min .. max | bar | |", "|---|---:|---:|---:|---|"]
    for found in verdicts:
        over, under = (CONTENDERS[name].title for name in found["ratio"])
        middle, between = spread(found["values"], ".2f") if "values" in found else ("", "")
        bar = "" if found["bar"] is None else f"≤ {found['bar']:.2f}"
        lines.append(f"| {over} / {under} | {middle} | {between} | {bar} | {found['verdict']} |")
    return "\n".join(lines) + "\n"


def options_from(argv):
    parser = argparse.ArgumentParser(
        prog="benches/run.sh",
        description="CPU per request of drawbridge and of nginx doing the same work, on the same core, in turns.",
        epilog="Ends with 0 if every bar is met, 1 if one is not, 2 if it could not be measured.",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each contender (5)")
    parser.add_argument("--seconds", type=float, default=4, metavar="N", help="length of a turn (4)")
    parser.add_argument("--warm", type=float, default=1, metavar="N", help="seconds before each turn that do not count (1)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 seconds: does it run at all?")
    parser.add_argument("--only", metavar="LIST", help=f"some of: {','.join(CONTENDERS)}")
    parser.add_argument("--bin", type=pathlib.Path, metavar="PATH", help="the drawbridge to measure (builds one with --release)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write every round's numbers here")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.seconds = 2, 2
    if options.rounds < 1 or options.seconds <= 0 or options.warm < 0:
        parser.error("rounds and seconds must be positive")
    names = options.only.split(",") if options.only else list(CONTENDERS)
    if unknown := set(names) - set(CONTENDERS):
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    options.contenders = {name: CONTENDERS[name] for name in names}
    return options


def drawbridge_binary(options):
    if not any(name.startswith("drawbridge") for name in options.contenders):
        return None
    if options.bin:
        return options.bin.resolve(strict=True)
    if subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, stdout=sys.stderr).returncode:
        raise Failed("drawbridge does not build")
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return (ROOT / target / "release" / "drawbridge").resolve(strict=True)


def run(stage, options):
    drawbridge = drawbridge_binary(options)
    cert, key = make_certificate(stage)
    redis_port = start_redis(stage)
    tokens, poor_token = fill_redis(redis_port)
    (stage.dir / "tokens").write_text("\n".join(tokens) + "\n")
    around = Surroundings(stage, redis_port, start_upstream(stage), cert, key, tokens, poor_token, drawbridge)
    if stage.shared_core:
        print("only one core: the gateway shares it with wrk, Redis and the upstream", file=sys.stderr)
    for name, contender in options.contenders.items():
        contender.pid, contender.port = contender.start(around, name)
        verify(name, contender, around)
    if len({contender.cipher for contender in options.contenders.values()}) > 1:
        raise Failed(f"different ciphers: { {n: c.cipher for n, c in options.contenders.items()} }")
    rounds = measure_all(options.contenders, around, options)
    verdicts = judge(rounds)
    text = report(options.contenders, rounds, verdicts, options, stage)
    numbers = json.dumps({"rounds": rounds, "ratios": verdicts}, indent=1) + "\n"
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    (out / "report.md").write_text(text)
    (out / "report.json").write_text(numbers)
    if options.json:
        options.json.write_text(numbers)
    print(text)
    return 1 if any(found["verdict"] == "FAIL" for found in verdicts) else 0


def main():
    options = options_from(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stage = Stage()
    try:
        return run(stage, options)
    except (Failed, OSError) as error:
        print(f"cannot measure: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        stage.close()


if __name__ == "__main__":
    sys.exit(main())
