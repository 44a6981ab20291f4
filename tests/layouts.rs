//! Sessions that other frameworks write, read by their own rules.
//!
//! Tests with an application of the real framework are ignored unless `tests/run.sh` has installed it.

mod support;

#[path = "layouts/application.rs"]
mod application;
#[path = "layouts/groups.rs"]
mod groups;
#[path = "layouts/kicked.rs"]
mod kicked;
#[path = "layouts/moving.rs"]
mod moving;
#[path = "layouts/real.rs"]
mod real;
#[path = "layouts/table.rs"]
mod table;
#[path = "layouts/told.rs"]
mod told;
#[path = "layouts/written.rs"]
mod written;

use support::client::{Call, Reply};
use support::redis::Redis;
use support::{Gateway, Setup, Upstream, gateway};

/// A gateway that reads the sessions of this layout where these sources say.
fn reading(redis: &Redis, layout: &str, sources: &str, upstream: &Upstream) -> Setup {
    reading_at(&redis.url(), layout, sources, upstream)
}

fn reading_at(url: &str, layout: &str, sources: &str, upstream: &Upstream) -> Setup {
    gateway()
        .store(&format!("redis = \"{url}\"\nlayout = \"{layout}\""))
        .toml(&format!("[tokens]\nsources = [{sources}]"))
        .upstream("app", upstream)
        .route("prefix = \"/admin\"\nupstream = \"app\"\nrequire = { all = [\"orders:write\"] }")
        .route("prefix = \"/\"\nupstream = \"app\"")
}

async fn get(gateway: &Gateway, target: &str, header: (&str, &str)) -> Reply {
    gateway
        .send(Call::get(target).header(header.0, header.1))
        .await
}
