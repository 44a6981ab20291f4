"""HTTP clients of Python (httpx, with h2): asks the gateway as programs do, and prints what came of it as JSON.

    ask.py PLAIN TLS CA TOKEN      addresses with ports
"""

import asyncio
import json
import sys

import httpx

plain, tls, authority, token = sys.argv[1:]
MIB = 1 << 20


def pieces(count):
    for _ in range(count):
        yield b"x" * MIB


async def slowly(count):
    for _ in range(count):
        yield b"x" * 1000
        await asyncio.sleep(0.001)


def versions(replies):
    return sorted({reply.http_version for reply in replies})


def one_after_the_other():
    with httpx.Client(base_url=f"http://{plain}", headers={"authorization": f"Bearer {token}"}) as client:
        replies = [client.get(f"/orders/{number}") for number in range(30)]
        uploaded = client.post("/orders", content=pieces(5)).json()["length"]
        form = client.post("/orders", data={"a": "ä" * 1000}, files={"file": b"z" * MIB})
        with client.stream("GET", "/public/big") as big:
            size = sum(len(piece) for piece in big.iter_bytes())
        refused = [
            client.get("/orders", headers={"authorization": header}).status_code
            for header in ("Bearer unknown", "Bearer not a token", "Basic x")
        ]
        forbidden = client.get("/users").status_code
        too_much = client.post("/orders", content=b"x" * (9 * MIB)).status_code
        after = client.get("/orders").json()["user"]
    return {
        "statuses": sorted({reply.status_code for reply in replies}),
        "versions": versions(replies),
        "users": sorted({reply.json()["user"] for reply in replies}),
        "uploaded": uploaded,
        "form": form.status_code,
        "downloaded": size,
        "refused": refused,
        "forbidden": forbidden,
        "too_much": too_much,
        "after": after,
    }


async def all_at_once(http2):
    limits = httpx.Limits(max_connections=1 if http2 else 20)
    context = httpx.create_ssl_context(verify=authority)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=f"https://{tls}", http2=http2, verify=context, limits=limits, headers=headers, timeout=60
    ) as client:
        gets = [client.get(f"/orders/{number}") for number in range(150)]
        posts = [client.post("/orders", content=slowly(20)) for _ in range(20)]
        refusals = [client.get("/users") for _ in range(20)]
        bigs = [client.get("/public/big") for _ in range(4)]
        replies = await asyncio.gather(*gets, *posts, *refusals, *bigs)
    gets, posts = replies[:150], replies[150:170]
    return {
        "versions": versions(replies),
        "targets": [reply.json()["target"] for reply in gets] == [f"/orders/{number}" for number in range(150)],
        "uploaded": sorted({reply.json()["length"] for reply in posts}),
        "refused": sorted({reply.status_code for reply in replies[170:190]}),
        "downloaded": sorted({len(reply.content) for reply in replies[190:]}),
    }


print(
    json.dumps(
        {
            "h1": one_after_the_other(),
            "h1_tls": asyncio.run(all_at_once(False)),
            "h2": asyncio.run(all_at_once(True)),
        }
    )
)
