"""CPU per request of gateways that do the same work, measured in turns; and, as further parts, memory, whether cost grows
with what there is, and how fast a kick is known elsewhere. Started by run.sh.

Requests are counted at the upstream, CPU in the gateway's /proc/PID/task/*/schedstat, both over the same stretch
of one wrk run, so handshakes and start-up are outside. Contenders and bars stand in contenders.py.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import time

import kick
import memory
import scale
from contenders import CONTENDERS, RATIOS, verify
from stage import BODY, CONNECTIONS, TOKENS, Failed, Stage, Surroundings
from stage import cpu_ns, fill_redis, make_certificate, rss_mib, start_redis, start_upstream, upstream_count

PARTS = ["cpu", "memory", "scale", "kick"]
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


def measure(name, contender, around, warm, seconds, seed):
    stage = around.stage
    # The tail keeps wrk busy past the second reading.
    duration = math.ceil(warm + seconds + 1)
    url = f"https://127.0.0.1:{contender.port}{contender.path}"
    args = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{duration}s", "-s", HERE / "load.lua", url, "--"]
    before = upstream_count(around.upstream_port)
    connections = "fresh" if contender.fresh else "kept"
    wrk = stage.start("wrk", [*args, stage.dir / "tokens", seed, connections], stage.other_cores)
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
        f"{options.rounds} rounds of {options.seconds:g} s after {options.warm:g} s; HTTPS, {CONNECTIONS} "
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
    return "\n".join(lines) + "\n"


def options_from(argv):
    parser = argparse.ArgumentParser(
        prog="benches/run.sh",
        description="CPU per request of drawbridge and of nginx doing the same work, on the same core, in turns; memory; flat "
        "cost; how fast a kick is known elsewhere. Ends with one table of all that was held to a bar.",
        epilog="Ends with 0 if every bar is met, 1 if one is not, 2 if it could not be measured.",
    )
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="turns of each contender (9)")
    parser.add_argument("--seconds", type=float, default=4, metavar="N", help="length of a turn (4)")
    parser.add_argument("--warm", type=float, default=1, metavar="N", help="seconds before each turn that do not count (1)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 seconds: does it run at all?")
    parser.add_argument("--part", action="append", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)} (all)")
    parser.add_argument("--only", metavar="LIST", help=f"some of: {','.join(CONTENDERS)}")
    parser.add_argument("--bin", type=pathlib.Path, metavar="PATH", help="the drawbridge to measure (builds the one that is shipped, with deploy/build.sh)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write every round's numbers here")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.seconds = 2, 2
    if options.rounds < 1 or options.seconds <= 0 or options.warm < 0:
        parser.error("rounds and seconds must be positive")
    names = options.only.split(",") if options.only else list(CONTENDERS)
    if unknown := set(names) - set(CONTENDERS):
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    options.part = options.part or PARTS
    options.contenders = {name: CONTENDERS[name] for name in names}
    return options


def drawbridge_binary(options):
    if options.part == ["cpu"] and not any(name.startswith("drawbridge") for name in options.contenders):
        return None
    if options.bin:
        return options.bin.resolve(strict=True)
    if subprocess.run(["bash", "deploy/build.sh"], cwd=ROOT, stdout=sys.stderr).returncode:
        raise Failed("drawbridge does not build")
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return (ROOT / target / "shipped" / "drawbridge").resolve(strict=True)


def run(stage, options):
    drawbridge = drawbridge_binary(options)
    cert, key = make_certificate(stage)
    redis_port = start_redis(stage)
    tokens, poor_token = fill_redis(redis_port)
    (stage.dir / "tokens").write_text("\n".join(tokens) + "\n")
    around = Surroundings(stage, redis_port, start_upstream(stage), cert, key, tokens, poor_token, drawbridge)
    if stage.shared_core:
        print("only one core: the gateway shares it with wrk, Redis and the upstream", file=sys.stderr)
    rows, text, numbers = [], "", {}
    if "cpu" in options.part:
        rounds, verdicts = compare(around, options)
        text = report(options.contenders, rounds, verdicts, options, stage)
        numbers.update(rounds=rounds, ratios=verdicts)
        rows += [ratio_row(found) for found in verdicts]
    if "memory" in options.part:
        rows += memory.measure(around, options)
    if "scale" in options.part:
        rows += scale.measure_all(around, measure, options)
    if "kick" in options.part:
        (stage.dir / "tokens").write_text("\n".join(tokens) + "\n")
        rows += kick.measure(around, options)
    text += "\n" + table(rows)
    numbers["bars"] = rows
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    (out / "report.md").write_text(text)
    numbers = json.dumps(numbers, indent=1) + "\n"
    (out / "report.json").write_text(numbers)
    if options.json:
        options.json.write_text(numbers)
    print(text)
    return 0 if all(met for _, _, _, met in rows) else 1


def compare(around, options):
    """The contenders, in turns."""
    for name, contender in options.contenders.items():
        contender.pid, contender.port = contender.start(around, name)
        verify(name, contender, around)
    if len({contender.cipher for contender in options.contenders.values()}) > 1:
        raise Failed(f"different ciphers: { {n: c.cipher for n, c in options.contenders.items()} }")
    rounds = measure_all(options.contenders, around, options)
    return rounds, judge(rounds)


def ratio_row(found):
    over, under = (CONTENDERS[name].title for name in found["ratio"])
    bar = "" if found["bar"] is None else f"≤ {found['bar']:.2f}"
    value = f"{found['median']:.2f}" if "median" in found else "not measured"
    return f"CPU: {over} / {under}", value, bar, found["verdict"] != "FAIL"


def table(rows):
    """All that was held to a bar, and what else was found."""
    lines = ["| what | found | bar | |", "|---|---:|---:|---|"]
    for what, value, bar, met in rows:
        lines.append(f"| {what} | {value} | {bar} | {'' if not bar else 'PASS' if met else 'FAIL'} |")
    return "\n".join(lines) + "\n"


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
