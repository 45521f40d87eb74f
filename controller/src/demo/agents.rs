//! The agents: real `midflight-agent` processes, each in a process group of its own, so that Ctrl-C reaches the demo alone.
//! Whoever drops them kills them, and the system kills them when the demo dies without a chance to.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

use crate::demo::setup::Node;
use crate::error::Error;

/// How often it is looked whether an agent ended.
const LOOK: Duration = Duration::from_millis(100);
/// How long agents may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a log that are shown.
const SHOWN: usize = 8;

struct Agent {
    name: String,
    log: PathBuf,
    child: Child,
}

/// All agents that were started.
pub struct Agents {
    program: PathBuf,
    running: Mutex<Vec<Agent>>,
    started: AtomicBool,
}

impl Agents {
    /// None yet. The program is `given`, or `MIDFLIGHT_AGENT`, or `midflight-agent` beside this program.
    ///
    /// # Errors
    /// [`Error::Demo`] when there is no such file.
    pub fn new(given: Option<PathBuf>) -> Result<Self, Error> {
        let program = program(given)?;
        Ok(Self {
            program,
            running: Mutex::new(Vec::new()),
            started: AtomicBool::new(false),
        })
    }

    /// Starts the agent of a node. It must be called from a thread that lives as long as the process: the system counts
    /// the end of the thread as the end of the parent.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn start(&self, node: &Node) -> Result<(), Error> {
        let log = node.dir.join("agent.log");
        let file = File::create(&log).map_err(Error::io("create", &log))?;
        let again = file.try_clone().map_err(Error::io("open", &log))?;
        let child = Command::new(&self.program)
            .args(["--config", "agent.yaml", "--die-with-parent"])
            .arg(std::process::id().to_string())
            .current_dir(&node.dir)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(again)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("start", &self.program))?;
        self.started.store(true, Ordering::Relaxed);
        self.lock().push(Agent {
            name: node.name.clone(),
            log,
            child,
        });
        Ok(())
    }

    /// Whether there was an agent at any time.
    pub fn were_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// The agents' program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Agent>> {
        // Every step with the list leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an agent ends, which none should; says which, and what it logged last.
    pub async fn ended(&self) -> Error {
        loop {
            for agent in self.lock().iter_mut() {
                if let Ok(Some(status)) = agent.child.try_wait() {
                    return gone(agent, status);
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Asks all agents to end, and waits until they did; one that does not is killed.
    ///
    /// # Errors
    /// [`Error::Demo`] with the first agent that did not end well.
    pub async fn stop(&self) -> Result<(), Error> {
        let mut agents = std::mem::take(&mut *self.lock());
        for pid in agents.iter().filter_map(pid) {
            // It fails only for a process that ended.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut first = None;
        for agent in &mut agents {
            let error = match timeout_at(deadline, agent.child.wait()).await {
                Ok(Ok(status)) if status.success() => continue,
                Ok(Ok(status)) => gone(agent, status),
                Ok(Err(error)) => Error::io("wait for", &agent.log)(error),
                Err(_) => failed(
                    agent,
                    &format!("did not end within {} s of SIGTERM", PATIENCE.as_secs()),
                ),
            };
            first.get_or_insert(error);
        }
        kill(agents).await;
        first.map_or(Ok(()), Err)
    }

    /// Kills all agents, and waits until they are gone.
    pub async fn kill(&self) {
        let agents = std::mem::take(&mut *self.lock());
        kill(agents).await;
    }
}

/// The agent's program: `given`, or `midflight-agent` beside this program.
///
/// # Errors
/// [`Error::Demo`] when there is no such file.
pub fn program(given: Option<PathBuf>) -> Result<PathBuf, Error> {
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.join("midflight-agent"))
    };
    let program = given
        .or_else(beside)
        .unwrap_or_else(|| "midflight-agent".into());
    if !program.is_file() {
        return Err(Error::Demo {
            problem: format!("there is no agent at {}", program.display()),
            hint: "build it with `make build`, or name it in MIDFLIGHT_AGENT".to_owned(),
        });
    }
    // Agents run with other working folders.
    std::fs::canonicalize(&program).map_err(Error::io("find", &program))
}

async fn kill(mut agents: Vec<Agent>) {
    for agent in &mut agents {
        // It fails only for a process that ended.
        let _ = agent.child.start_kill();
    }
    for agent in &mut agents {
        let _ = agent.child.wait().await;
    }
}

/// `None` once it ended and was waited for.
fn pid(agent: &Agent) -> Option<Pid> {
    Pid::from_raw(i32::try_from(agent.child.id()?).ok()?)
}

fn gone(agent: &Agent, status: ExitStatus) -> Error {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    };
    failed(agent, &format!("ended with {how}"))
}

fn failed(agent: &Agent, what: &str) -> Error {
    Error::Demo {
        problem: format!(
            "the agent of {} {what}; the end of its log:\n{}",
            agent.name,
            tail(&agent.log)
        ),
        hint: format!("its whole log is {}", agent.log.display()),
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN)..];
    shown
        .iter()
        .map(|line| format!("  | {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
