//! The instructions of a description: as the manifest has them, what they say of a module whose entry leaves it out, and the
//! lines that they stand in.

use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::{Spec, SpecModule};
use crate::instructions::{Appup, AppupInstruction, Relup};
use crate::manifest::Update;
use crate::plan::{Direction, Instruction};

/// What the instructions say of a module.
#[derive(Default)]
pub(super) struct Written {
    pub(super) update: Option<Update>,
    pub(super) extra: Value,
    pub(super) added: bool,
}

impl Spec {
    pub(super) fn appups(&self) -> Vec<Appup> {
        let appup = |appup: &Spanned<Appup<Spanned<AppupInstruction>>>| Appup {
            application: appup.value.application.clone(),
            up: plain(&appup.value.up),
            down: plain(&appup.value.down),
        };
        self.instructions.iter().map(appup).collect()
    }

    pub(super) fn relup(&self) -> Option<Relup> {
        self.relup.as_ref().map(|relup| Relup {
            up: plain(&relup.value.up),
            down: plain(&relup.value.down),
        })
    }

    /// What the way that the patch leads says of a module.
    pub(super) fn written(&self, module: &SpecModule) -> Written {
        let mut written = Written {
            added: module.new,
            ..Written::default()
        };
        if module.new {
            written.update = Some(Update::Soft);
        }
        let name = &module.name;
        for (application, instruction) in self.forward() {
            match instruction {
                AppupInstruction::Update(update) if update.module == *name => {
                    written.update = update.change;
                    written.extra = update.extra.clone();
                }
                AppupInstruction::LoadModule(load) if load.module == *name => {
                    written.update = Some(Update::Soft);
                }
                AppupInstruction::AddModule(add) if add.module == *name => written.add(),
                AppupInstruction::AddApplication if self.owns(application, module) => written.add(),
                _ => {}
            }
        }
        for step in self.forward_steps() {
            match step {
                Instruction::Load { module, .. } if module == name => {
                    written.update.get_or_insert(Update::Soft);
                }
                Instruction::CodeChange { modules, .. } => {
                    for change in modules.iter().filter(|change| change.name == *name) {
                        written.update = Some(Update::Advanced);
                        written.extra = change.extra.clone();
                    }
                }
                _ => {}
            }
        }
        written
    }

    fn owns(&self, application: &str, module: &SpecModule) -> bool {
        self.applications
            .iter()
            .any(|a| a.value.name == application && a.value.modules.contains(&module.name))
    }

    fn forward(&self) -> impl Iterator<Item = (&str, &AppupInstruction)> {
        let direction = self.direction;
        self.instructions.iter().flat_map(move |appup| {
            let list = list(&appup.value.up, &appup.value.down, direction);
            list.map(|instruction| (appup.value.application.as_str(), &instruction.value))
        })
    }

    fn forward_steps(&self) -> impl Iterator<Item = &Instruction> {
        let relup = self.relup.iter();
        relup.flat_map(|relup| {
            list(&relup.value.up, &relup.value.down, self.direction).map(|step| &step.value)
        })
    }

    /// The place of an instruction that a JSON pointer names, and what is left of the pointer.
    pub(super) fn locate_instruction<'a>(&self, pointer: &'a str) -> Option<(Location, &'a str)> {
        let mut path = pointer.trim_start_matches([' ', '/']).splitn(5, '/');
        let mut next = || path.next().unwrap_or_default();
        let (whole, lists) = match next() {
            "instructions" => {
                let Some(index) = next().parse::<usize>().ok() else {
                    return Some((self.instructions.first()?.referenced, ""));
                };
                let appup = self.instructions.get(index)?;
                let places = |list: &Option<Vec<Spanned<AppupInstruction>>>| places(list);
                let lists = (places(&appup.value.up), places(&appup.value.down));
                (appup.referenced, lists)
            }
            "relup" => {
                let relup = self.relup.as_ref()?;
                let lists = (places(&relup.value.up), places(&relup.value.down));
                (relup.referenced, lists)
            }
            _ => return None,
        };
        let list = match next() {
            "down" => lists.1,
            _ => lists.0,
        };
        let at = next().parse::<usize>().ok();
        let at = at.and_then(|index| list.get(index).copied());
        let rest = path.next().unwrap_or_default();
        Some((at.unwrap_or(whole), rest))
    }
}

impl Written {
    fn add(&mut self) {
        self.added = true;
        self.update = Some(Update::Soft);
    }
}

fn list<'a, T>(
    up: &'a Option<Vec<T>>,
    down: &'a Option<Vec<T>>,
    direction: Direction,
) -> std::slice::Iter<'a, T> {
    let list = match direction {
        Direction::Up => up,
        Direction::Down => down,
    };
    list.as_deref().unwrap_or_default().iter()
}

fn plain<T: Clone>(list: &Option<Vec<Spanned<T>>>) -> Option<Vec<T>> {
    let list = list.as_ref()?;
    Some(list.iter().map(|one| one.value.clone()).collect())
}

fn places<T>(list: &Option<Vec<Spanned<T>>>) -> Vec<Location> {
    let list = list.as_deref().unwrap_or_default();
    list.iter().map(|one| one.referenced).collect()
}
