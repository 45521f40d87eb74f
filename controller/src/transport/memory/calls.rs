//! The calls of the protocol, answered by a simulated node.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, StreamExt as _};
use midflight_patch::Digest;
use midflight_proto::agent::v1 as pb;
use tokio::sync::mpsc;

use crate::transport::memory::node::{Node, Record};
use crate::transport::memory::refused;
use crate::transport::{Agent, CallError, Steps};

/// The agent's code of a request that is not as the protocol has it.
const REQUEST: &str = "MF0415";

pub(super) struct Connection {
    pub(super) node: Arc<Node>,
}

impl Connection {
    fn described(&self, asked: Option<&pb::Key>) -> Result<pb::DescribeResponse, CallError> {
        self.node.call("describe")?;
        let mut state = self.node.state();
        if self.node.script.restarts && state.on_new {
            state.on_new = false;
            state.records.clear();
        }
        let health = &self.node.script.health;
        let current = self.node.release(state.on_new);
        let module = |module: &str| pb::ModuleStatus {
            name: module.to_owned(),
            vsn: current.vsn.clone(),
            ..pb::ModuleStatus::default()
        };
        Ok(pb::DescribeResponse {
            node: self.node.name.clone(),
            modules: vec![module("counter")],
            permanent: Some(self.node.release(state.permanent_new)),
            upgrade: state.holder().map(|record| record.status(health)),
            asked: asked
                .and_then(|key| state.record(key))
                .map(|record| record.status(health)),
            current: Some(current),
            ..pb::DescribeResponse::default()
        })
    }

    fn confirmed(&self, request: &pb::ConfirmRequest) -> Result<pb::ConfirmResponse, CallError> {
        self.node
            .call(if request.finish { "finish" } else { "confirm" })?;
        self.node.claim(request.epoch)?;
        let mut state = self.node.state();
        let key = request.key.clone().unwrap_or_default();
        let record = state.record(&key).ok_or_else(Node::unknown)?;
        use pb::UpgradeState as S;
        if !matches!(record.state, S::Probation | S::Confirmed | S::Finished) {
            return Err(refused("MF0425", "the rollout is not in probation"));
        }
        if record.state != S::Finished {
            record.state = if request.finish {
                S::Finished
            } else {
                S::Confirmed
            };
        }
        let now = record.state;
        state.permanent_new = true;
        Ok(pb::ConfirmResponse {
            state: now.into(),
            ..pb::ConfirmResponse::default()
        })
    }

    fn rolled_back(
        &self,
        request: &pb::RollbackRequest,
    ) -> Result<pb::RollbackResponse, CallError> {
        self.node.call("rollback")?;
        self.node.claim(request.epoch)?;
        self.node.cancel();
        if self.node.script.rollback_fails {
            let failure = pb::Failure {
                code: "MF0302".to_owned(),
                what: "the old code does not load".to_owned(),
                changed: true,
                ..pb::Failure::default()
            };
            return Err(CallError::Failed(Box::new(failure)));
        }
        use pb::UpgradeState as S;
        let mut state = self.node.state();
        let key = request.key.clone().unwrap_or_default();
        let known = state.record(&key).is_some();
        if !known {
            state.records.push(Record::new(key.clone(), S::RolledBack));
        }
        let was = state.record(&key).map(|record| {
            let next = match record.state {
                S::Aborted => S::Aborted,
                _ => S::RolledBack,
            };
            std::mem::replace(&mut record.state, next)
        });
        let changed = matches!(was, Some(S::Probation | S::Confirmed | S::Finished));
        if changed {
            (state.on_new, state.permanent_new) = (false, false);
        }
        let before = known && was == Some(S::RolledBack);
        let outcome = if changed || before {
            pb::RollbackOutcome::RolledBack
        } else {
            pb::RollbackOutcome::Untouched
        };
        Ok(pb::RollbackResponse {
            current: Some(self.node.release(state.on_new)),
            outcome: outcome.into(),
            report: Some(pb::RollbackReport {
                pinned: 1,
                ..Default::default()
            }),
        })
    }
}

impl Agent for Connection {
    fn describe(&self) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        async move { self.described(None) }.boxed()
    }

    fn describe_order(
        &self,
        key: pb::Key,
    ) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        async move { self.described(Some(&key)) }.boxed()
    }

    fn measure(&self, key: pb::Key) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        async move {
            let described = self.described(Some(&key))?;
            Ok(self.node.measured(described))
        }
        .boxed()
    }

    fn stage(
        &self,
        mut parts: BoxStream<'static, pb::StageRequest>,
    ) -> BoxFuture<'_, Result<pb::StageResponse, CallError>> {
        async move {
            self.node.call("stage")?;
            while let Some(part) = parts.next().await {
                if let Some(pb::stage_request::Body::Header(header)) = part.body {
                    self.node.claim(header.epoch)?;
                    let key = header.key.unwrap_or_default();
                    if Digest::of(&header.manifest).to_string() != key.patch_digest {
                        return Err(refused(REQUEST, "the digest is not the manifest's"));
                    }
                }
            }
            let complete = std::mem::replace(&mut self.node.state().staged, true);
            Ok(pb::StageResponse {
                complete,
                ..pb::StageResponse::default()
            })
        }
        .boxed()
    }

    fn upgrade(
        &self,
        orders: BoxStream<'static, pb::UpgradeRequest>,
    ) -> BoxFuture<'_, Result<Steps, CallError>> {
        async move {
            self.node.call("upgrade")?;
            let (out, events) = mpsc::channel(16);
            // Owned by its channels: it ends when the controller drops either side.
            tokio::spawn(self.node.clone().transact(orders, out));
            Ok(tokio_stream::wrappers::ReceiverStream::new(events).boxed())
        }
        .boxed()
    }

    fn confirm(
        &self,
        request: pb::ConfirmRequest,
    ) -> BoxFuture<'_, Result<pb::ConfirmResponse, CallError>> {
        async move { self.confirmed(&request) }.boxed()
    }

    fn renew(
        &self,
        request: pb::RenewRequest,
    ) -> BoxFuture<'_, Result<pb::RenewResponse, CallError>> {
        async move {
            self.node.call("renew")?;
            self.node.claim(request.epoch)?;
            let key = request.key.unwrap_or_default();
            let state = self.node.renew(&key).ok_or_else(Node::unknown)?;
            Ok(pb::RenewResponse {
                state: state.into(),
                lease: None,
            })
        }
        .boxed()
    }

    fn rollback(
        &self,
        request: pb::RollbackRequest,
    ) -> BoxFuture<'_, Result<pb::RollbackResponse, CallError>> {
        async move { self.rolled_back(&request) }.boxed()
    }

    fn releases(&self) -> BoxFuture<'_, Result<pb::ReleasesResponse, CallError>> {
        async move {
            let release = self.node.release(self.node.state().permanent_new);
            let permanent = pb::ReleaseStatus {
                release: Some(release),
                state: pb::ReleaseState::Permanent.into(),
                bytes: 0,
            };
            Ok(pb::ReleasesResponse {
                releases: vec![permanent],
            })
        }
        .boxed()
    }

    fn remove_release(
        &self,
        request: pb::RemoveReleaseRequest,
    ) -> BoxFuture<'_, Result<pb::RemoveReleaseResponse, CallError>> {
        let what = format!("release {} is not on this node", request.vsn);
        async move { Err(refused("MF0443", &what)) }.boxed()
    }

    fn sys(&self, _: pb::SysRequest) -> BoxFuture<'_, Result<pb::SysResponse, CallError>> {
        let failure = pb::Failure {
            code: "MF0416".to_owned(),
            what: "sys is off".to_owned(),
            ..Default::default()
        };
        async move { Err(CallError::Failed(Box::new(failure))) }.boxed()
    }

    fn metrics(&self) -> BoxFuture<'_, Result<pb::MetricsResponse, CallError>> {
        async move {
            Ok(pb::MetricsResponse {
                text: "# EOF\n".to_owned(),
            })
        }
        .boxed()
    }
}
