//! A change, and the two lines of the audit log around it.

use std::sync::Arc;

use serde_json::Value;

use super::App;
use super::caller::Allowed;
use super::problem::Problem;
use crate::audit::Entry;

/// What is to be changed, for the audit log.
#[derive(Debug)]
pub(super) struct Order {
    what: &'static str,
    whom: Option<String>,
    detail: Value,
}

impl Order {
    /// To do this, to this user, role or realm.
    pub(super) fn new(what: &'static str, whom: impl Into<Option<String>>) -> Self {
        Self {
            what,
            whom: whom.into(),
            detail: Value::Null,
        }
    }

    /// With these particulars, none of which is a secret.
    pub(super) fn with(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}

impl App {
    /// Does `work` between a line that says that it will be done and one that says what came of it. It is done to its end
    /// also if the caller goes away meanwhile.
    ///
    /// # Errors
    /// What `work` fails with; 503 if the first line cannot be written, and then nothing was done.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        who: Allowed,
        order: Order,
        work: impl Future<Output = Result<(T, Value), Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = Arc::clone(self);
        let whole = async move {
            app.note(&who, &order, "intent", order.detail.clone())
                .await?;
            let (outcome, result, detail) = match work.await {
                Ok((value, detail)) => (Ok(value), "done", detail),
                Err(problem) => (Err(problem.clone().noted()), problem.code, Value::Null),
            };
            // The change stands, and its caller must know how it went.
            if let Err(problem) = app.note(&who, &order, result, detail).await {
                tracing::error!(id = %who.id, code = problem.code, "the outcome of a change could not be noted");
            }
            outcome
        };
        match tokio::spawn(whole).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Problem::UNKNOWN_OUTCOME),
        }
    }

    async fn note(
        &self,
        who: &Allowed,
        order: &Order,
        result: &str,
        detail: Value,
    ) -> Result<(), Problem> {
        let entry = Entry {
            id: &who.id,
            who: &who.caller.name,
            by: who.caller.by,
            from: who.from,
            what: order.what,
            whom: order.whom.as_deref(),
            result,
            detail,
        };
        self.audit.write(&entry).await?;
        Ok(())
    }
}
