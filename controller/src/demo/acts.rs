//! The acts: each is a real rollout, started by the command line that it prints, and judged by its exit code, by what every
//! node says it runs afterwards, and by what the clients see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use midflight_proto::agent::v1 as pb;
use serde::Serialize;

use crate::command::demo::command_line;
use crate::demo::counts::Greeting;
use crate::demo::lines::Form;
use crate::demo::report::Told;
use crate::demo::setup::{self, Setup};
use crate::demo::traffic::Traffic;
use crate::engine::link::Link;
use crate::engine::view::View;
use crate::engine::words::Outcome;
use crate::error::{self, Error};
use crate::exit::Exit;
use crate::journal::{Journal as _, Sqlite, Which, read_all};

/// How long the clients may take to see what an act led to.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that every connection must have answered before and after an act.
const MESSAGES: u64 = 3;
/// How long a node may take to say what it runs.
const DESCRIBE: Duration = Duration::from_secs(10);

/// What an act came to.
#[derive(Clone, Debug, Serialize)]
pub struct Played {
    /// Its name.
    pub name: &'static str,
    /// The rollout, when it came to one.
    pub rollout: Option<String>,
    /// How `midflight apply` ended.
    pub exit_code: u8,
    /// How it was to end.
    pub expected_exit_code: u8,
    /// How long that took.
    pub seconds: f64,
    /// Nodes by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Whether afterwards the nodes ran what they should and their counters were right.
    pub fleet_ok: bool,
    /// The pauses that nodes reported, in microseconds.
    #[serde(skip)]
    pub pauses_us: Vec<u64>,
}

/// The stage.
pub struct Stage<'a> {
    /// The fleet's files.
    pub setup: &'a Setup,
    /// The nodes.
    pub links: &'a [Arc<Link>],
    /// The clients.
    pub traffic: &'a Traffic,
    /// Who is told.
    pub told: &'a Told,
}

impl Stage<'_> {
    /// Plays all acts, and adds what they came to; the first one that does not end as it should is the last.
    ///
    /// # Errors
    /// What keeps an act from being played to its end.
    pub async fn play(&self, played: &mut Vec<Played>) -> Result<(), Error> {
        self.traffic.flow(MESSAGES, PATIENCE).await?;
        self.setup.bundle("good", setup::GOOD)?;
        self.told.act(
            1,
            "version 1 becomes version 2, in waves: one node, 25 %, all",
            Exit::OK,
        );
        self.traffic.expect(Form::Either, Greeting::Either);
        let act = self.act("v1 to v2", "good", Exit::OK).await?;
        let mut good = act.fleet_ok;
        played.push(act);
        let bad = [
            (
                "code_change returns an error",
                "counter_bad_error",
                Some("fail_at"),
                Exit::REFUSED,
            ),
            (
                "code_change traps",
                "counter_bad_trap",
                Some("trap_at"),
                Exit::REFUSED,
            ),
            (
                "the first message traps",
                "counter_bad_first",
                None,
                Exit::ROLLED_BACK,
            ),
        ];
        for (number, (name, module, key, expected)) in (2..).zip(bad) {
            if !good {
                break;
            }
            let (extra, about) = match key {
                Some(key) => {
                    let count = self.traffic.high_count(PATIENCE).await?;
                    (
                        format!("{{{key}: {count}}}"),
                        format!(", for counts of {count} and more"),
                    )
                }
                None => (
                    "null".to_owned(),
                    ", on every counter that gets one".to_owned(),
                ),
            };
            self.told
                .act(number, &format!("a bad patch: {name}{about}"), expected);
            self.setup.bundle(module, &setup::bad(module, &extra))?;
            let act = self.act(name, module, expected).await?;
            good = act.fleet_ok;
            played.push(act);
        }
        Ok(())
    }

    async fn act(&self, name: &'static str, bundle: &str, expected: Exit) -> Result<Played, Error> {
        let before = self.releases().await?;
        let journal = self.setup.file("journal.db");
        let start = Instant::now();
        let exit = match command_line(&self.arguments(bundle), self.told.format()).await {
            Ok(exit) => exit,
            Err(error) => {
                self.told.line(&format!(
                    "error: {}: {}\n  {}",
                    error.code(),
                    error::chain(&error),
                    error.hint()
                ));
                error.exit()
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        let newest = Sqlite::open(&journal)?;
        let rollout = newest.heads(Which::Newest(1)).await?.pop();
        let rollout = rollout.map(|head| head.rollout);
        let view = match &rollout {
            Some(id) => View::of(&read_all(&newest, id).await?),
            None => View::default(),
        };
        let fits = exit == expected;
        if !fits {
            let (is, was) = (exit.code(), expected.code());
            self.told.line(&format!(
                "this act was to end with exit code {was}, and ended with {is}"
            ));
        }
        if expected == Exit::OK {
            self.traffic.expect(Form::Upper, Greeting::Howdy);
        }
        let fleet_ok = self.check(&before, expected).await? && fits;
        Ok(Played {
            name,
            rollout: rollout.map(|id| id.to_string()),
            exit_code: exit.code(),
            expected_exit_code: expected.code(),
            seconds,
            outcomes: view.outcomes().clone(),
            fleet_ok,
            pauses_us: view.nodes.iter().filter_map(|node| node.pause_us).collect(),
        })
    }

    /// The command line of an act; `told` shows it shorter, since the environment may say the rest.
    fn arguments(&self, bundle: &str) -> Vec<String> {
        let file = |name: &str| self.setup.file(name).display().to_string();
        self.told
            .command(&format!("midflight apply {bundle}.bundle demo --all"));
        let bundle = file(&format!("{bundle}.bundle"));
        let words = [
            "midflight",
            "apply",
            &bundle,
            "demo",
            "--all",
            "--inventory",
            &file("fleet.yaml"),
        ];
        let more = [
            "--pki",
            &file("pki"),
            "--allowed-signers",
            &file("allowed_signers"),
            "--journal",
            &file("journal.db"),
        ];
        words.into_iter().chain(more).map(str::to_owned).collect()
    }

    /// Whether all nodes run the one release that they should, also after a restart, and every counter is right.
    async fn check(&self, before: &[Runs], expected: Exit) -> Result<bool, Error> {
        let after = self.releases().await?;
        let one = after
            .iter()
            .all(|node| node.current == after[0].current && node.permanent == node.current);
        let same = after == before;
        let as_it_should = one && same != (expected == Exit::OK);
        let all = after.len();
        let release = &after[0].current;
        match (as_it_should, expected == Exit::OK) {
            (true, true) => self
                .told
                .good(&format!("all {all} nodes run {release} and would boot it")),
            (true, false) => self.told.good(&format!(
                "all {all} nodes run {release} as before and would boot it"
            )),
            (false, _) => {
                let odd = self
                    .setup
                    .nodes
                    .iter()
                    .zip(&after)
                    .find(|(_, runs)| **runs != after[0] || runs.current != runs.permanent);
                let which = odd.map_or_else(
                    || format!("all nodes run {release}"),
                    |(node, runs)| {
                        format!(
                            "{} runs {} and would boot {}",
                            node.name, runs.current, runs.permanent
                        )
                    },
                );
                self.told
                    .bad(&format!("the nodes do not run what they should: {which}"));
            }
        }
        self.traffic.flow(MESSAGES, PATIENCE).await?;
        let (counters, wrong) = self.traffic.audit(PATIENCE).await;
        let figures = self.traffic.figures();
        if wrong == 0 {
            self.told.good(&format!(
                "all {counters} counters are what the clients sent to them"
            ));
        } else {
            self.told.bad(&format!(
                "{wrong} of {counters} counters are not what the clients sent to them"
            ));
        }
        if figures.dropped == 0 && figures.duplicated == 0 && figures.wrong == 0 {
            self.told.good(&format!(
                "all {} connections are open; {} messages so far",
                figures.connections, figures.sent
            ));
        } else {
            self.told.bad(&format!(
                "{} connections dropped; {}",
                figures.dropped,
                figures.said.join("; ")
            ));
        }
        Ok(as_it_should && wrong == 0)
    }

    async fn releases(&self) -> Result<Vec<Runs>, Error> {
        try_join_all(self.links.iter().map(|link| async move {
            let asked =
                link.patiently(
                    DESCRIBE,
                    DESCRIBE,
                    |agent| async move { agent.describe().await },
                );
            let described = asked.await.map_err(|source| Error::Node {
                node: link.target().name.clone(),
                source,
            })?;
            Ok(Runs {
                current: release(described.current),
                permanent: release(described.permanent),
            })
        }))
        .await
    }
}

/// What a node runs, and what it would boot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Runs {
    current: String,
    permanent: String,
}

/// Name, vsn and digest: releases of one vsn may differ.
fn release(release: Option<pb::Release>) -> String {
    release.map_or_else(
        || "nothing".to_owned(),
        |release| {
            let digest = release
                .digest
                .trim_start_matches("sha256:")
                .get(..12)
                .unwrap_or_default()
                .to_owned();
            format!("{} {} ({digest})", release.name, release.vsn)
        },
    )
}
