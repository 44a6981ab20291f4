//! What is said about upstreams that could not work.

use crate::check::expect;

const ENDPOINTS: &str = "endpoints = [\"http://127.0.0.1:9000\"]";

fn lines(more: &str) -> String {
    format!("{ENDPOINTS}\n{more}")
}

#[test]
fn bounds_that_let_nothing_through() {
    for (more, said) in [
        ("resolve = \"0s\"", "8:11 `resolve` is zero"),
        ("queue_timeout = \"0s\"", "8:17 `queue_timeout` is zero"),
        ("max_connections = 0", "8:19 `max_connections` is zero"),
        ("ejection = { time = \"0s\" }", "8:21 `time` is zero"),
        (
            "ejection = { time = \"10m\" }",
            "8:12 `max_time` is shorter than `time`",
        ),
        (
            "retry_budget = { percent = 101 }",
            "8:28 more than all requests",
        ),
        (
            "health = { path = \"/h\", interval = \"0s\" }",
            "8:36 `interval` is zero",
        ),
        (
            "health = { path = \"/h\", timeout = \"0s\" }",
            "8:35 `timeout` is zero",
        ),
        (
            "health = { path = \"/h\", unhealthy_after = 0 }",
            "8:43 `unhealthy_after` is zero",
        ),
        (
            "health = { path = \"/h\", healthy_after = 0 }",
            "8:41 `healthy_after` is zero",
        ),
        (
            "weights = [1, 2]",
            "8:11 there are 2 weights for 1 endpoints",
        ),
        ("weights = [0]", "8:12 `0` is not a weight"),
        (
            "health = { path = \"health\" }",
            "8:19 `health` is not a path",
        ),
        (
            "ejection = { statuses = [99] }",
            "8:26 `99` is not the status of an answer",
        ),
        (
            "tls = { cert = \"/dev/null\" }",
            "8:16 `tls.key` is missing",
        ),
        (
            "tls = { key = \"/dev/null\" }",
            "8:15 `tls.cert` is missing",
        ),
    ] {
        let said = format!("error {said}");
        expect(&[(ENDPOINTS, &lines(more), &[&said])]);
    }
    let route = "upstream = \"app\"\n";
    let total = format!("{route}timeouts = {{ total = \"0s\" }}\n");
    expect(&[(route, &total, &["error 11:22 `total` is zero"])]);
}

#[test]
fn what_is_allowed_has_nothing_said_about_it() {
    for more in [
        "ejection = { after = 0, time = \"0s\" }",
        "weights = [100]\nbalance = \"user\"",
        "protocol = \"h2\"",
        "max_connections = 1\nmax_pending = 0",
        "health = { path = \"/health?deep=1\", statuses = [204, 503] }",
        "retries = 0\nretry_budget = { percent = 0, min_per_second = 0 }",
    ] {
        expect(&[(ENDPOINTS, &lines(more), &[])]);
    }
}

#[test]
fn protocols_that_do_not_fit() {
    let auto = lines("protocol = \"auto\"");
    expect(&[(
        ENDPOINTS,
        &auto,
        &["warning 8:12 in the clear an endpoint cannot be asked"],
    )]);
    let h2 = format!(
        "{}\n[[routes]]\nprefix = \"/live\"\nupgrades = [\"websocket\"]\nupstream = \"app\"",
        lines("protocol = \"h2\"")
    );
    expect(&[(
        ENDPOINTS,
        &h2,
        &["error 11:12 upgrades go over HTTP/1.1, and the upstream `app` speaks HTTP/2"],
    )]);
}
