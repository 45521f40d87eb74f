//! From the plan that a patch was expanded to (`midflight patch inspect` prints it) to the order that this node carries
//! out. The plan's instructions are grouped into the phases of the transaction: which modules are suspended in which order,
//! what is checked before the point of no return, and what is done, in order, behind the switch.

use std::time::Duration;

use midflight_patch::{
    Release,
    plan::{self, Instruction, ModulePlan, Plan, Subject, When},
};
use serde_json::json;

use super::{Action, AddModule, Apply, DeleteModule, Direction, Hop, ModuleOrder, Order};

impl Order {
    /// The order of a plan that leads to this release, with the bounds and the policy of [`Order::new`].
    ///
    /// Loading, code changes and purges need no order of their own: all modules are current at the same moment. The limit of
    /// a `suspend` bounds the wait for running handlers, together with the pause budget. `sync_nodes` is kept by whoever
    /// drives the phases of many nodes.
    pub fn of_plan(plan: &Plan, to: &Release) -> Order {
        let direction = match plan.direction {
            plan::Direction::Up => Direction::Up,
            plan::Direction::Down => Direction::Down,
        };
        let mut order = Order {
            listen: to.listen.clone(),
            connect: to.connect.clone(),
            ..Order::new(direction, Vec::new())
        };
        let application = |name: &String| to.applications.iter().find(|a| a.name == *name).cloned();
        for module in &plan.modules {
            order.take(module);
        }
        let mut suspended = Vec::new();
        for step in &plan.steps {
            match step {
                Instruction::Suspend {
                    modules,
                    timeout_ms,
                } => {
                    suspended.extend(modules.iter().cloned());
                    let limit = timeout_ms.map(Duration::from_millis);
                    order.suspend_timeout = order.suspend_timeout.into_iter().chain(limit).min();
                }
                Instruction::Resume { modules } => order.resume.extend(modules.iter().cloned()),
                Instruction::Apply {
                    module,
                    function,
                    args,
                    when,
                } => {
                    let apply = Apply {
                        module: module.clone(),
                        function: function.clone(),
                        args: args.to_string().into_bytes(),
                    };
                    match when {
                        When::Before => order.before.push(apply),
                        When::After => order.after.push(Action::Apply(apply)),
                    }
                }
                Instruction::Configure {
                    module,
                    changed,
                    new,
                    removed,
                    ..
                } => order.after.push(Action::Apply(Apply {
                    module: module.clone(),
                    function: "config_change".into(),
                    args: json!({"changed": changed, "new": new, "removed": removed})
                        .to_string()
                        .into_bytes(),
                })),
                Instruction::Stop { what } => order.after.push(match what {
                    Subject::Application(name) => Action::StopApplication(name.clone()),
                    Subject::Child { application, child } => Action::StopChild {
                        application: application.clone(),
                        child: child.clone(),
                    },
                }),
                Instruction::Start { what } => match what {
                    Subject::Application(name) => {
                        let spec = application(name);
                        order.after.extend(spec.map(Action::StartApplication));
                    }
                    Subject::Child { application, child } => order.after.push(Action::StartChild {
                        application: application.clone(),
                        child: child.clone(),
                    }),
                },
                Instruction::UpdateSupervisors { application: name } => {
                    let spec = application(name).map(|mut spec| {
                        if direction == Direction::Down {
                            spec.supervisor = spec.supervisor.exactly();
                        }
                        spec
                    });
                    order.after.extend(spec.map(Action::UpdateSupervisors));
                }
                Instruction::LoadObjectCode { .. }
                | Instruction::PointOfNoReturn
                | Instruction::Load { .. }
                | Instruction::Remove { .. }
                | Instruction::Purge { .. }
                | Instruction::CodeChange { .. }
                | Instruction::SyncNodes { .. }
                | Instruction::RestartRuntime => {}
            }
        }
        // Those that nobody suspends stay behind, in the order of the plan.
        let place = |m: &ModuleOrder| suspended.iter().position(|name| *name == m.name);
        order
            .modules
            .sort_by_key(|m| place(m).unwrap_or(usize::MAX));
        order
    }

    fn take(&mut self, module: &ModulePlan) {
        let name = module.name.clone();
        match (&module.from, module.hops.split_last()) {
            (Some(from), Some((last, between))) => self.modules.push(ModuleOrder {
                update: last.update,
                extra: last.extra.to_string().into_bytes(),
                config: last.config.to_string().into_bytes(),
                policy: module.policy,
                pre_purge: module.pre_purge,
                post_purge: module.post_purge,
                hops: between.iter().map(hop).collect(),
                ..ModuleOrder::new(name, from.clone(), last.vsn.clone(), last.blob)
            }),
            (None, Some((last, _))) => self.add.push(AddModule {
                name,
                vsn: last.vsn.clone(),
                blob: last.blob,
                config: last.config.to_string().into_bytes(),
            }),
            (Some(from), None) => self.delete.push(DeleteModule {
                name,
                from: from.clone(),
                purge: module.pre_purge,
            }),
            // Neither before nor after: nothing.
            (None, None) => {}
        }
    }
}

fn hop(hop: &plan::Hop) -> Hop {
    Hop {
        vsn: hop.vsn.clone(),
        blob: hop.blob,
        update: hop.update,
        extra: hop.extra.to_string().into_bytes(),
    }
}
