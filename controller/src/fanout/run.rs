//! One command on many nodes: what each says is collected, or passed on line by line, until it ends, takes too long, or a person
//! stops it. Every node is told of exactly once at its end, also those that were never begun, and what came before is kept.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};

use crate::fanout::answer::{Answer, Budget, End, Failure, Output, Stream};
use crate::fanout::drive::{Stop, drive};
use crate::fanout::lines::Lines;
use crate::fanout::shell::{Ended, Heard, Input, Job, Shell};

/// What of a node's output waits at most for who shows it, in chunks or lines.
const WAITING: usize = 16;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// For the login shell of each node.
    pub command: Arc<str>,
    /// What each of them reads.
    pub input: Option<Input>,
    /// How many nodes at a time, at least 1.
    pub at_once: usize,
    /// How long the command may take, from its begin.
    pub timeout: Duration,
    /// Bytes kept of each node.
    pub most: usize,
    /// Bytes kept of all nodes together.
    pub most_in_all: usize,
    /// Whether lines are passed on as they come, and not kept.
    pub live: bool,
}

/// What is told while it goes on.
#[derive(Debug)]
pub enum Event {
    /// A line, without its line break.
    Line {
        /// The node's position.
        node: usize,
        /// Of which output.
        stream: Stream,
        /// Its bytes.
        line: Vec<u8>,
    },
    /// It is over on a node.
    Ended {
        /// The node's position.
        node: usize,
        /// What it said, and how it ended.
        answer: Answer,
        /// Since the connection was asked for.
        took: Duration,
    },
}

/// Runs it on nodes 0 to `nodes` - 1. When nobody reads `events` any more it goes on without telling.
///
/// # Errors
/// A panic in the work on a node; the others are awaited first.
pub async fn run(
    shell: Arc<dyn Shell>,
    nodes: usize,
    options: Options,
    stop: Stop,
    events: mpsc::Sender<Event>,
) -> Result<(), JoinError> {
    let budget = Budget::new(options.most_in_all);
    let left = drive(0..nodes, options.at_once, &stop, |node| {
        let one = One {
            node,
            output: Output::new(options.most, budget.clone()),
            live: options.live,
            open: [Lines::default(), Lines::default()],
            events: events.clone(),
            began: None,
        };
        one.run(shell.clone(), options.clone(), stop.clone())
    });
    for node in left.await? {
        let answer = Answer {
            output: Output::new(0, budget.clone()),
            end: End::NotStarted,
        };
        let took = Duration::ZERO;
        let _ = events.send(Event::Ended { node, answer, took }).await;
    }
    Ok(())
}

/// The work on one node.
struct One {
    node: usize,
    output: Output,
    live: bool,
    /// What came of stdout and stderr and is no whole line yet.
    open: [Lines; 2],
    events: mpsc::Sender<Event>,
    began: Option<Instant>,
}

impl One {
    async fn run(mut self, shell: Arc<dyn Shell>, options: Options, stop: Stop) {
        let started = Instant::now();
        let job = Job {
            node: self.node,
            command: options.command,
            input: options.input,
        };
        let (heard, mut hear) = mpsc::channel(WAITING);
        let mut running = shell.run(job, heard);
        let end = loop {
            let deadline = self.began.map(|began| began + options.timeout);
            let too_long = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                ended = &mut running => break self.end(ended),
                Some(heard) = hear.recv() => self.hear(heard).await,
                () = too_long => break End::TimedOut,
                () = stop.said() => break match self.began {
                    Some(_) => End::Interrupted,
                    None => End::NotStarted,
                },
            }
        };
        drop(running);
        while let Ok(heard) = hear.try_recv() {
            self.hear(heard).await;
        }
        if self.live {
            for stream in [Stream::Stdout, Stream::Stderr] {
                if let Some(line) = self.open[stream as usize].rest() {
                    self.tell(stream, line).await;
                }
            }
        }
        let answer = Answer {
            output: self.output,
            end,
        };
        let (node, took) = (self.node, started.elapsed());
        // Nobody may be left to tell.
        let _ = self.events.send(Event::Ended { node, answer, took }).await;
    }

    fn end(&self, ended: Result<Ended, Failure>) -> End {
        match ended {
            Ok(Ended::Exit(status)) => End::Exit(status),
            Ok(Ended::Signal(name)) => End::Signal(name),
            Err(failure) => End::Failed(failure),
        }
    }

    async fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Began => self.began = Some(Instant::now()),
            Heard::Said(stream, bytes) if self.live => {
                let mut lines = Vec::new();
                self.open[stream as usize].push(&bytes, |line| lines.push(line));
                for line in lines {
                    self.tell(stream, line).await;
                }
            }
            Heard::Said(stream, bytes) => self.output.push(stream, &bytes),
        }
    }

    async fn tell(&self, stream: Stream, line: Vec<u8>) {
        let node = self.node;
        let _ = self.events.send(Event::Line { node, stream, line }).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::FutureExt as _;
    use futures::future::BoxFuture;
    use tokio::time::sleep;

    use super::*;

    /// What a node does, word by word: `o:TEXT` and `e:TEXT` say it, `wait:SECONDS`, `connect:SECONDS`, then `exit:N`, `signal:NAME`
    /// or `fail`.
    struct Script(Vec<&'static str>);

    impl Shell for Script {
        fn run<'a>(
            &'a self,
            job: Job,
            heard: mpsc::Sender<Heard>,
        ) -> BoxFuture<'a, Result<Ended, Failure>> {
            async move {
                let mut began = false;
                for word in self.0[job.node].split(' ') {
                    let (verb, rest) = word.split_once(':').unwrap_or((word, ""));
                    if !began && verb != "connect" {
                        began = true;
                        heard.send(Heard::Began).await.unwrap();
                    }
                    let say =
                        |stream| heard.send(Heard::Said(stream, rest.replace('/', "\n").into()));
                    match verb {
                        "o" => say(Stream::Stdout).await.unwrap(),
                        "e" => say(Stream::Stderr).await.unwrap(),
                        "wait" | "connect" => {
                            sleep(Duration::from_secs(rest.parse().unwrap())).await;
                        }
                        "exit" => return Ok(Ended::Exit(rest.parse().unwrap())),
                        "signal" => return Ok(Ended::Signal(rest.to_owned())),
                        _ => break,
                    }
                }
                Err(Failure {
                    code: "MF0000".into(),
                    what: "broken".into(),
                    hint: String::new(),
                    began,
                })
            }
            .boxed()
        }
    }

    fn options() -> Options {
        Options {
            command: "x".into(),
            input: None,
            at_once: 2,
            timeout: Duration::from_secs(60),
            most: 10,
            most_in_all: 1_000,
            live: false,
        }
    }

    struct Told {
        lines: Vec<(usize, String)>,
        ended: BTreeMap<usize, (End, String, u64)>,
    }

    async fn told(script: &[&'static str], options: Options, stop_after: u64) -> Told {
        let (say, stop) = Stop::new();
        let (events, mut read) = mpsc::channel(1);
        let shell = Arc::new(Script(script.to_vec()));
        let nodes = script.len();
        let running = tokio::spawn(run(shell, nodes, options, stop, events));
        let stopping = tokio::spawn(async move {
            sleep(Duration::from_secs(stop_after)).await;
            let _ = say.send(true);
        });
        let mut told = Told {
            lines: Vec::new(),
            ended: BTreeMap::new(),
        };
        while let Some(event) = read.recv().await {
            match event {
                Event::Line { node, line, .. } => {
                    told.lines.push((node, String::from_utf8(line).unwrap()));
                }
                Event::Ended { node, answer, .. } => {
                    let of = |stream| String::from_utf8_lossy(answer.output.of(stream));
                    let text = format!("{}|{}", of(Stream::Stdout), of(Stream::Stderr));
                    let before = told
                        .ended
                        .insert(node, (answer.end, text, answer.output.cut()));
                    assert!(before.is_none(), "node {node} ended twice");
                }
            }
        }
        running.await.unwrap().unwrap();
        stopping.abort();
        told
    }

    #[tokio::test(start_paused = true)]
    async fn every_node_ends_once_with_what_it_said_and_how_it_ended() {
        let script = [
            "o:a/ e:b/ exit:0",
            "o:12345 o:6789 e:abc o:d exit:3",
            "connect:5 fail",
            "fail",
            "wait:3 signal:KILL",
        ];
        let told = told(&script, options(), 1_000).await;
        assert_eq!(told.ended.len(), 5);
        assert_eq!(told.ended[&0], (End::Exit(0), "a\n|b\n".into(), 0));
        assert_eq!(told.ended[&1], (End::Exit(3), "123456789|a".into(), 3));
        assert!(matches!(&told.ended[&2].0, End::Failed(failure) if failure.began));
        assert!(matches!(&told.ended[&3].0, End::Failed(_)));
        assert_eq!(told.ended[&4].0, End::Signal("KILL".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_takes_too_long_is_given_up_with_what_it_said_and_its_time_begins_with_it()
     {
        let script = ["o:x wait:61 exit:0", "connect:100 wait:59 exit:0"];
        let told = told(&script, options(), 1_000).await;
        assert_eq!(told.ended[&0], (End::TimedOut, "x|".into(), 0));
        assert_eq!(told.ended[&1].0, End::Exit(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_keeps_what_came_and_tells_what_never_began() {
        let script = [
            "o:x wait:30 exit:0",
            "connect:30 exit:0",
            "exit:0",
            "exit:0",
        ];
        let told = told(&script, options(), 10).await;
        assert_eq!(told.ended[&0], (End::Interrupted, "x|".into(), 0));
        for node in 1..4 {
            assert_eq!(told.ended[&node].0, End::NotStarted, "{node}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn live_lines_come_whole_and_in_order_and_are_not_kept() {
        let script = ["o:a/b o:c/ wait:5 o:d exit:0", "wait:1 e:x/ wait:1 fail"];
        let live = Options {
            live: true,
            ..options()
        };
        let told = told(&script, live, 1_000).await;
        let of = |wanted| {
            let of = |&&(node, _): &&(usize, String)| node == wanted;
            let lines = told.lines.iter().filter(of);
            lines.map(|(_, line)| line.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of(0), ["a", "bc", "d"]);
        assert_eq!(of(1), ["x"]);
        assert_eq!(told.ended[&0], (End::Exit(0), "|".into(), 0));
    }
}
