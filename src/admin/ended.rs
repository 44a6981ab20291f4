//! What the calls that end sessions answer, and how long they wait before they do.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::sessions::{Ended, Reached, Sessions, Target};

/// What to wait for before the call is answered.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitFor {
    /// `all`: until every gateway has dropped what was ended, 15 seconds at most. Without it the call is answered when the
    /// store has it; gateways usually hear of it within milliseconds.
    wait: Option<Everybody>,
}

/// Every gateway that is on the roll.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Everybody {
    /// All of them.
    All,
}

/// What was ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndedSessions {
    /// The names of the sessions. Those of a whole realm are not told.
    ended: Vec<String>,
    /// Whether a failover of the session store can no longer undo it.
    confirmed: bool,
    /// With `wait=all`: whether no gateway lets anything through any more on the strength of what was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    everywhere: Option<bool>,
    /// With `wait=all`: the gateways that did not say so themselves. If `everywhere` is true all the same, they have been
    /// out of touch for so long that they believe nothing any more that they have read.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent: Option<Vec<String>>,
}

impl EndedSessions {
    /// Nothing was there to be ended.
    pub(super) fn none() -> Self {
        Self {
            ended: Vec::new(),
            confirmed: true,
            everywhere: None,
            silent: None,
        }
    }
}

/// Waits for what is to be waited for. The answer, and what is noted of it. An end stands, also if it cannot be told how
/// far it has come.
pub(super) async fn finish(
    sessions: &Sessions,
    ended: Ended,
    wait: WaitFor,
    target: Target<'_>,
) -> (EndedSessions, Value) {
    let reached = match wait.wait {
        None => None,
        Some(Everybody::All) => Some(sessions.reach(target).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the gateways could not be asked whether they have dropped what was ended");
            Reached {
                everywhere: false,
                silent: Vec::new(),
            }
        })),
    };
    let (everywhere, silent) = reached
        .map(|reached| (reached.everywhere, reached.silent))
        .unzip();
    let detail = match everywhere {
        None => json!({"ended": ended.sids, "confirmed": ended.confirmed}),
        Some(everywhere) => json!({
            "ended": ended.sids, "confirmed": ended.confirmed, "everywhere": everywhere, "silent": silent,
        }),
    };
    let answer = EndedSessions {
        ended: ended.sids,
        confirmed: ended.confirmed,
        everywhere,
        silent,
    };
    (answer, detail)
}
