//! A plan as people read it: what becomes of each module, then one instruction a line. `inspect` and the node's log print this
//! and nothing else, so that what was read is what is run. Text from a manifest is cut and escaped.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use super::{
    AfterDraining, Change, Direction, Hop, Instruction, ModulePlan, Plan, Policy, Purge, Subject,
    When,
};
use crate::error::printable;
use crate::manifest::Update;
use crate::names::ModuleName;

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            from,
            to,
            direction,
            ..
        } = self;
        writeln!(f, "plan {name} {from} -> {to}, {direction}")?;
        for module in &self.modules {
            writeln!(f, "  {module}")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>4}  {step}", number + 1)?;
        }
        Ok(())
    }
}

impl Display for ModulePlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match (&self.from, &self.to) {
            (None, Some(to)) => write!(f, "added at {to}"),
            (Some(from), None) => write!(f, "{from} is deleted"),
            (None, None) => f.write_str("unchanged"),
            (Some(from), Some(_)) => {
                write!(f, "{from}")?;
                self.hops
                    .iter()
                    .try_for_each(|hop| write!(f, " -> {hop}"))?;
                match self.policy {
                    Policy::Update => Ok(()),
                    Policy::LoadModule => f.write_str(", load_module"),
                    Policy::Draining { deadline_ms, then } => {
                        write!(f, ", draining for {deadline_ms} ms, then {then}")
                    }
                }
            }
        }?;
        purges(f, self.pre_purge, self.post_purge)
    }
}

impl Display for Hop {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.update {
            Update::Soft => write!(f, "{} (soft)", self.vsn),
            Update::Advanced => write!(f, "{} (advanced)", self.vsn),
        }
    }
}

impl Display for Instruction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |f: &mut Formatter<'_>, name: &str, modules: &[ModuleName]| {
            f.write_str(name)?;
            modules.iter().try_for_each(|module| write!(f, " {module}"))
        };
        match self {
            Self::LoadObjectCode { modules } => list(f, "load_object_code", modules),
            Self::PointOfNoReturn => f.write_str("point_of_no_return"),
            Self::Suspend {
                modules,
                timeout_ms,
            } => {
                list(f, "suspend", modules)?;
                match timeout_ms {
                    Some(timeout) => write!(f, ", within {timeout} ms"),
                    None => Ok(()),
                }
            }
            Self::Load {
                module,
                pre_purge,
                post_purge,
            } => {
                write!(f, "load {module}")?;
                purges(f, *pre_purge, *post_purge)
            }
            Self::Remove {
                module,
                pre_purge,
                post_purge,
            } => {
                write!(f, "remove {module}")?;
                purges(f, *pre_purge, *post_purge)
            }
            Self::Purge { modules } => list(f, "purge", modules),
            Self::CodeChange { direction, modules } => {
                write!(f, "code_change {direction}")?;
                modules.iter().try_for_each(|change| write!(f, " {change}"))
            }
            Self::Resume { modules } => list(f, "resume", modules),
            Self::Stop { what } => write!(f, "stop {what}"),
            Self::Start { what } => write!(f, "start {what}"),
            Self::UpdateSupervisors { application } => {
                write!(f, "update_supervisors {}", printable(application))
            }
            Self::Configure {
                module,
                changed,
                new,
                removed,
                ..
            } => {
                write!(f, "configure {module}")?;
                for (what, values) in [("changed", changed), ("new", new)] {
                    if !values.is_empty() {
                        write!(f, " {what} {}", json(&Value::Object(values.clone())))?;
                    }
                }
                if !removed.is_empty() {
                    write!(f, " removed {}", printable(&removed.join(", ")))?;
                }
                Ok(())
            }
            Self::SyncNodes { id } => write!(f, "sync_nodes {}", printable(id)),
            Self::Apply {
                module,
                function,
                args,
                when,
            } => {
                write!(f, "apply {module} {} {}", printable(function), json(args))?;
                f.write_str(match when {
                    When::Before => ", a check",
                    When::After => "",
                })
            }
            Self::RestartRuntime => f.write_str("restart_runtime"),
        }
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if self.extra.is_null() {
            return Ok(());
        }
        write!(f, "({})", json(&self.extra))
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application(name) => write!(f, "application {}", printable(name)),
            Self::Child { application, child } => write!(
                f,
                "child {} of application {}",
                printable(child),
                printable(application)
            ),
        }
    }
}

impl Display for Direction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

impl Display for AfterDraining {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Update => "update",
            Self::Stop => "stop",
        })
    }
}

impl Display for Purge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Soft => "soft",
            Self::Brutal => "brutal",
        })
    }
}

/// Says nothing of what is the default on both sides.
fn purges(f: &mut Formatter<'_>, pre: Purge, post: Purge) -> fmt::Result {
    if (pre, post) == Default::default() {
        return Ok(());
    }
    write!(f, ", {pre} purge before, {post} after")
}

fn json(value: &Value) -> String {
    printable(&value.to_string())
}
