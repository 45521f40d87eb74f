//! `midflight.controller.v1`, as gRPC calls it: checks what a peer may ask, translates, and hands on. What rollouts do is the
//! engine's; what only a server can do is the [`Host`]'s.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _};
use midflight_proto::controller::v1 as pb;
use midflight_proto::controller::v1::controller_server::Controller;
use midflight_proto::peer::{Peer, Right};
use tonic::{Request, Response, Status, Streaming};

use crate::engine::control::{self, Answer, Verb};
use crate::engine::event::Event;
use crate::engine::id::{RolloutId, now_ms};
use crate::engine::view::View;
use crate::error::Error;
use crate::journal::{Head, Journal, Lock, Which, read_all};
use crate::output::{self, Rendered, json_lines};
use crate::server::host::{Host, Submission};
use crate::server::lives::Lives;
use crate::server::{problem, watch};

/// Most bytes of all bundles of a submission.
const MAX_BUNDLES: usize = 256 << 20;
/// Most characters of a reason.
const MAX_REASON: usize = 1_000;
/// Rollouts in a list, when the request does not say, and at most.
const LISTED: (u32, u32) = (100, 10_000);

/// The service.
#[derive(Clone)]
pub struct Service {
    /// The rollouts that run here.
    pub lives: Lives,
    /// All rollouts.
    pub journal: Arc<dyn Journal>,
    /// The journal's file, beside which locks and sockets lie.
    pub path: PathBuf,
    /// Absent in a process that runs one rollout.
    pub host: Option<Arc<Host>>,
}

impl Service {
    fn host(&self) -> Result<&Arc<Host>, Status> {
        self.host.as_ref().ok_or_else(|| {
            problem::status(&Error::Usage {
                problem: "this process runs one rollout, and plans no other".to_owned(),
                hint: "run midflight apply, or ask a server with --server",
            })
        })
    }

    async fn ask(&self, rollout: &RolloutId, request: control::Request) -> Result<Answer, Error> {
        if let Some(live) = self.lives.get(rollout)
            && let Some(answer) = live.ask(request.clone()).await
        {
            return Ok(answer);
        }
        let head = self.journal.head(rollout).await?;
        let head = head.ok_or_else(|| Error::NoSuchRollout {
            rollout: rollout.to_string(),
        })?;
        match &self.host {
            Some(host) => host.take_up(rollout, &head, request).await,
            None => Ok(Answer::Refused("this process does not run it".to_owned())),
        }
    }
}

/// Who asks, when that peer may.
fn may<T>(request: &Request<T>, right: Right) -> Result<String, Status> {
    match request.extensions().get::<Peer>() {
        Some(peer) if peer.may(right) => Ok(peer.name.clone()),
        Some(peer) => Err(problem::status(&Error::NotAllowed {
            peer: peer.name.clone(),
        })),
        None => Err(Status::unauthenticated("the peer is not known")),
    }
}

fn rollout(text: &str) -> Result<RolloutId, Status> {
    text.parse().map_err(|error| problem::status(&error))
}

fn refused(error: Error) -> Status {
    problem::status(&error)
}

/// An event as it is sent.
fn event(event: &Event) -> pb::Event {
    pb::Event {
        rollout: event.rollout.to_string(),
        seq: event.seq,
        json: json_lines([event]).trim_end().to_owned(),
    }
}

fn head(head: &Head) -> pb::RolloutHead {
    pb::RolloutHead {
        rollout: head.rollout.to_string(),
        state: head.state.to_string(),
        started_ms: head.started_ms,
        last_ms: head.last_ms,
        seq: head.seq,
        json: json_lines([head]).trim_end().to_owned(),
    }
}

fn rendered(rendered: Rendered) -> Response<pb::Rendered> {
    Response::new(pb::Rendered {
        text: rendered.text,
        json: rendered.json,
        exit: rendered.exit.code().into(),
    })
}

/// The verb of a request.
fn verb(request: &pb::ControlRequest) -> Result<Verb, Status> {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let long = [&request.reason, &request.accept_inconclusive]
        .iter()
        .any(|text| text.chars().count() > MAX_REASON);
    if long {
        return Err(Status::invalid_argument(
            "a reason is longer than 1,000 characters",
        ));
    }
    Ok(match request.verb() {
        pb::Verb::Pause => Verb::Pause,
        pb::Verb::Resume => Verb::Resume,
        pb::Verb::Promote => Verb::Promote {
            accept_inconclusive: given(&request.accept_inconclusive),
        },
        pb::Verb::Abort => Verb::Abort { keep: request.keep },
        pb::Verb::Rollback => Verb::Rollback,
        pb::Verb::RetryFailed => Verb::RetryFailed,
        pb::Verb::Detach => Verb::Detach,
        pb::Verb::Unspecified => return Err(Status::invalid_argument("the verb is not known")),
    })
}

/// Reads header and bundles.
async fn submission(stream: &mut Streaming<pb::SubmitRequest>) -> Result<Submission, Status> {
    use pb::submit_request::Body;

    let wrong = Status::invalid_argument;
    let Some(pb::SubmitRequest {
        body: Some(Body::Header(header)),
    }) = stream.message().await?
    else {
        return Err(wrong("the header must come first"));
    };
    let (mut bundles, mut size) = (BTreeMap::<u32, Vec<u8>>::new(), 0);
    while let Some(message) = stream.message().await? {
        let Some(Body::Chunk(chunk)) = message.body else {
            return Err(wrong("there is one header"));
        };
        size += chunk.data.len();
        if size > MAX_BUNDLES {
            return Err(wrong("the bundles are larger than 256 MiB"));
        }
        bundles.entry(chunk.bundle).or_default().extend(&chunk.data);
    }
    Ok(Submission {
        header,
        bundles: bundles.into_values().collect(),
    })
}

#[tonic::async_trait]
impl Controller for Service {
    async fn plan(
        &self,
        request: Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<pb::Rendered>, Status> {
        may(&request, Right::Roll)?;
        let submission = submission(&mut request.into_inner()).await?;
        let planned = self.host()?.plan(submission).await;
        planned.map(rendered).map_err(refused)
    }

    async fn apply(
        &self,
        request: Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<pb::ApplyResponse>, Status> {
        let who = may(&request, Right::Roll)?;
        let submission = submission(&mut request.into_inner()).await?;
        let applied = self.host()?.apply(submission, who).await;
        let rollout = applied.map_err(refused)?.to_string();
        Ok(Response::new(pb::ApplyResponse { rollout }))
    }

    async fn control(
        &self,
        request: Request<pb::ControlRequest>,
    ) -> Result<Response<pb::ControlResponse>, Status> {
        let who = may(&request, Right::Roll)?;
        let request = request.into_inner();
        let (rollout, verb) = (rollout(&request.rollout)?, verb(&request)?);
        if verb == Verb::Detach && self.host.is_some() {
            return Err(Status::invalid_argument("a server keeps its rollouts"));
        }
        let reason = request.reason;
        let asked = control::Request { verb, who, reason };
        let refused = match self.ask(&rollout, asked).await.map_err(refused)? {
            Answer::Done => String::new(),
            Answer::Refused(why) => why,
        };
        Ok(Response::new(pb::ControlResponse { refused }))
    }

    async fn list(
        &self,
        request: Request<pb::ListRequest>,
    ) -> Result<Response<pb::ListResponse>, Status> {
        may(&request, Right::Read)?;
        let most = match request.into_inner().most {
            0 => LISTED.0,
            most => most.min(LISTED.1),
        };
        let heads = self.journal.heads(Which::Newest(most)).await;
        let rollouts = heads.map_err(refused)?.iter().map(head).collect();
        Ok(Response::new(pb::ListResponse { rollouts }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::Rendered>, Status> {
        may(&request, Right::Read)?;
        let asked = request.into_inner().rollout;
        let look = async {
            let id = if asked.is_empty() {
                let newest = self.journal.heads(Which::Newest(1)).await?.pop();
                newest.ok_or(Error::NoRollouts)?.rollout
            } else {
                asked.parse()?
            };
            let view = View::of(&read_all(&*self.journal, &id).await?);
            let alive = self.lives.get(&id).is_some() || Lock::is_held(&self.path, &id)?;
            Ok(output::status(&id, &view, alive, now_ms()))
        };
        look.await.map(rendered).map_err(refused)
    }

    type WatchStream = BoxStream<'static, Result<pb::Event, Status>>;

    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        may(&request, Right::Read)?;
        let request = request.into_inner();
        let rollout = rollout(&request.rollout)?;
        let head = self.journal.head(&rollout).await.map_err(refused)?;
        if head.is_none() {
            let rollout = rollout.to_string();
            return Err(problem::status(&Error::NoSuchRollout { rollout }));
        }
        let journal = self.journal.clone();
        let events = watch::events(journal, &self.lives, rollout, request.after);
        let sent = events.map(|read| read.map(|read| event(&read)).map_err(refused));
        Ok(Response::new(sent.boxed()))
    }

    async fn nodes(
        &self,
        request: Request<pb::NodesRequest>,
    ) -> Result<Response<pb::Rendered>, Status> {
        may(&request, Right::Read)?;
        let looked = self.host()?.nodes(&request.into_inner().pattern).await;
        looked.map(rendered).map_err(refused)
    }
}
