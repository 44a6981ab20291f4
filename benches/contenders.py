"""The gateways that are compared, and the proof that they do the same work.

To add a contender: write a function that starts its gateway and returns the process id whose CPU counts and the
port, and give it a row in CONTENDERS. To hold it to a bar, add a row to RATIOS.
"""

import dataclasses
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import time

from stage import BODY, PERMISSIONS, ROLES, Failed, free_port, nginx_config, only_child, wait_for_port

HERE = pathlib.Path(__file__).resolve().parent


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
            # Left to itself nginx lets the client choose, and OpenSSL's first choice costs more; drawbridge chooses this.
            ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
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


def wait_until_ready(stage, name):
    """The listener is open before the store is reached; `ready` says that both are."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        for line in stage.log(name).splitlines():
            if line.startswith("{") and re.search(r'"message":\s*"ready"', line):
                return
        time.sleep(0.05)
    raise Failed(f"{name} does not say that it is ready:\n{stage.log(name)}")


def start_drawbridge(around, name, more=""):
    """`more`: further tables for the end of its configuration."""
    stage = around.stage
    port = free_port()
    config = stage.dir / f"{name}.toml"
    config.write_text(f"""
        [server]
        drain_delay = "0s"
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

        [[routes]]
        prefix = "/local"
        require.all = ["orders:read"]
        upstream = "service"
        limits = [{{ by = "client", rate = "1000000/s" }}, {{ by = "user", rate = "1000000/s" }}]

        [[routes]]
        prefix = "/shared"
        require.all = ["orders:read"]
        upstream = "service"
        limits = [{{ by = "user", rate = "1000000/s", scope = "shared", on_error = "deny" }}]
        {more}
        """)
    process = stage.start(name, [around.drawbridge, "run", "--config", config], stage.gateway_cores)
    wait_for_port(stage, name, process, port)
    wait_until_ready(stage, name)
    # setpriv and taskset replace themselves, so the process that was started is drawbridge.
    return process.pid, port


def start_strict(around, name):
    return start_drawbridge(around, name, '[cache]\nmax_staleness = "0s"')


@dataclasses.dataclass
class Contender:
    title: str
    start: callable
    path: str
    judges: bool  # whether a session is needed and identity reaches the upstream
    fresh: bool = False  # whether each request comes over a new connection: a full TLS handshake each time
    pid: int = 0
    port: int = 0
    cipher: str = ""


CONTENDERS = {
    "nginx-plain": Contender("nginx, plain proxy", start_nginx_plain, "/", False),
    "nginx-lua": Contender("nginx + Lua + Redis", start_nginx_lua, "/", True),
    "drawbridge-auth": Contender("drawbridge, required route, from memory", start_drawbridge, "/", True),
    "drawbridge-strict": Contender("drawbridge, required route, Redis each time", start_strict, "/", True),
    "drawbridge-public": Contender("drawbridge, public route", start_drawbridge, "/public", False),
    "nginx-fresh": Contender("nginx, plain proxy, new connection each", start_nginx_plain, "/", False, fresh=True),
    "drawbridge-fresh": Contender("drawbridge, required route, new connection each", start_drawbridge, "/", True, fresh=True),
    "drawbridge-local": Contender("drawbridge, required, two local limits", start_drawbridge, "/local", True),
    "drawbridge-shared": Contender("drawbridge, required, one shared limit", start_drawbridge, "/shared", True),
}

# Numerator, denominator, and the most the ratio may be (None: for information).
RATIOS = [
    ("drawbridge-strict", "nginx-lua", 0.85),
    ("drawbridge-strict", "nginx-plain", 1.35),
    ("drawbridge-public", "nginx-plain", 1.0),
    ("drawbridge-auth", "nginx-plain", 0.95),
    ("drawbridge-auth", "nginx-lua", 0.52),
    ("drawbridge-local", "drawbridge-auth", None),
    ("drawbridge-shared", "drawbridge-auth", None),
    ("nginx-lua", "nginx-plain", None),
    ("drawbridge-fresh", "nginx-fresh", 0.7),
]


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
    i = 711
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
