"""Whether a request's CPU stays the same while what the gateway has to choose from grows. Started by run.sh as
`benches/run.sh --part scale`.

Two gateways differ in one thing only and are measured in turns; the ratio of each round is taken, and the median judged.
"""

import dataclasses
import statistics
import sys

from contenders import CONTENDERS, start_drawbridge, verify
from stage import fill_redis, start_redis

# A request's CPU may differ by so much between the small and the large gateway.
TOLERANCE = 0.05
FEW_SESSIONS, MANY_SESSIONS = 1_000, 1_000_000
FEW_ROUTES, MANY_ROUTES = 10, 1_000
# A run that only shows that it runs.
QUICK_SESSIONS = 20_000


def routes(count):
    """Routes beside the one that is asked for: different hosts, depths and rules."""
    tables = []
    for i in range(count - 2):
        host = f'host = "h{i}.example"\n' if i % 3 else ""
        tables.append(
            f'[[routes]]\n{host}prefix = "/service-{i}/v{i % 7}/items"\nrequire.all = ["service:{i}"]\nupstream = "service"\n'
        )
    return "\n" + "\n".join(tables)


def sessions(around, many):
    """A gateway on a Redis with few sessions, one on a Redis with many; the same number of them in use."""
    both = []
    for count in (FEW_SESSIONS, many):
        name = f"redis-{count}"
        port = start_redis(around.stage, name)
        tokens, poor = fill_redis(port, count)
        own = dataclasses.replace(around, redis_port=port, tokens=tokens[:FEW_SESSIONS], poor_token=poor)
        both.append((f"{count:,} sessions in Redis", own, ""))
    return both


def choices(around):
    return [(f"{count:,} routes", around, routes(count)) for count in (FEW_ROUTES, MANY_ROUTES)]


def compare(what, pair, measure, options):
    contenders = []
    for title, around, more in pair:
        name = "scale-" + "".join(c for c in title if c.isalnum())
        contender = dataclasses.replace(CONTENDERS["drawbridge-auth"], title=title)
        contender.pid, contender.port = start_drawbridge(around, name, more)
        verify(name, contender, around)
        contenders.append((name, contender, around))
    ratios = []
    for i in range(options.rounds):
        costs = []
        for name, contender, around in contenders if i % 2 else reversed(contenders):
            (around.stage.dir / "tokens").write_text("\n".join(around.tokens) + "\n")
            costs.append(measure(name, contender, around, options.warm, options.seconds, i)["cpu_us"])
        small, large = costs if i % 2 else reversed(costs)
        ratios.append(large / small)
        print(f"scale: {what}: {large:.2f} / {small:.2f} µs/request", file=sys.stderr)
    middle = statistics.median(ratios)
    title = f"{pair[1][0]} / {pair[0][0]}"
    return title, f"{middle:.2f}", f"1.00 ± {TOLERANCE:.2f}", abs(middle - 1) <= TOLERANCE


def measure_all(around, measure, options):
    """Rows: what, value, bar, whether it is met."""
    return [
        compare("sessions", sessions(around, QUICK_SESSIONS if options.quick else MANY_SESSIONS), measure, options),
        compare("routes", choices(around), measure, options),
    ]
