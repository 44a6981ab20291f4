//! A request that was let in, and judging it once more if it has to wait afterwards: for a shared limit, or for its upstream.

use std::net::IpAddr;
use std::pin::Pin;

use super::Gateway;
use super::door::Carried;
use super::record::Spent;
use crate::limit::{Told, Who};
use crate::policy::Permit;
use crate::refusal::Refusal;
use crate::route::Route;
use crate::upstream::Judge;
use crate::uptime::Uptime;

/// A request that may pass.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    pub(super) route: &'a Route,
    pub(super) token: Carried,
    pub(super) permit: Permit,
    /// When it was judged.
    pub(super) since: Uptime,
    /// What its sender is told of limits.
    pub(super) told: Told,
}

impl Judged<'_> {
    /// Who sends it.
    pub(super) fn who(&self, client: IpAddr) -> Who<'_> {
        Who {
            client,
            holder: self.token.held_by(&self.permit),
        }
    }
}

/// What it takes to judge a request again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appeal<'a> {
    gateway: &'a Gateway,
    pub(super) route: &'a Route,
    carried: &'a Carried,
    client: IpAddr,
}

/// An appeal of a request that is dressed already: it may be sent as it is, or not at all.
#[derive(Debug)]
pub(super) struct Hearing<'a> {
    appeal: Appeal<'a>,
    permit: &'a Permit,
    refusal: Option<Refusal>,
}

impl<'a> Appeal<'a> {
    pub(super) fn new(
        gateway: &'a Gateway,
        route: &'a Route,
        carried: &'a Carried,
        client: IpAddr,
    ) -> Self {
        Self {
            gateway,
            route,
            carried,
            client,
        }
    }

    /// The same questions as before, answered by what is known now.
    pub(super) async fn judge(&self) -> Result<Permit, Refusal> {
        let Self {
            gateway,
            route,
            carried,
            client,
        } = *self;
        let spent = &mut Spent::default();
        let holder = Box::pin(gateway.holder(carried, route.max_age, client, spent)).await?;
        Ok(route.policy.judge(holder)?)
    }

    /// Of a request that was dressed with this permit.
    pub(super) fn against(self, permit: &'a Permit) -> Hearing<'a> {
        Hearing {
            appeal: self,
            permit,
            refusal: None,
        }
    }
}

impl Hearing<'_> {
    /// Why it was refused; nothing if its session has only become another one than what it was dressed with.
    pub(super) fn refusal(self) -> Option<Refusal> {
        self.refusal
    }
}

impl Judge for Hearing<'_> {
    fn judge(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async {
            match self.appeal.judge().await {
                Ok(permit) => permit.tells_as(self.permit),
                Err(refusal) => {
                    self.refusal = Some(refusal);
                    false
                }
            }
        })
    }
}
