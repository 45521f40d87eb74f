//! Files of variables beside Ansible's sources: `group_vars/` and `host_vars/`.
//!
//! A file, or a folder of them, is named after the group or host it is for, with or without an extension. They are found
//! by listing each folder once, whatever the number of hosts. Files for names that no source has are not read.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Builder;
use super::hosts::Hosts;
use crate::ansible::vars_file;
use crate::error::Error;
use crate::vars::{Var, Vars};

/// A folder that may have `group_vars` and `host_vars` in it.
pub(crate) struct Adjacent(pub PathBuf);

/// The variables of one such folder.
#[derive(Default)]
struct Folder {
    all: Option<Arc<Vars>>,
    groups: HashMap<u32, Arc<Vars>>,
    hosts: HashMap<u32, Arc<Vars>>,
}

/// The variables in files, in the order of the sources, and the files that are encrypted.
#[derive(Default)]
pub(super) struct Files {
    folders: Vec<Folder>,
    /// Which folder belongs to each source.
    order: Vec<usize>,
    pub sealed: Vec<PathBuf>,
}

impl Files {
    fn in_order(&self) -> impl Iterator<Item = &Folder> {
        self.order.iter().map(|index| &self.folders[*index])
    }

    /// What overrides the variables written at groups: for all hosts first, then for the groups given, source by source.
    pub(super) fn of_groups<'a>(
        &'a self,
        groups: &'a [u32],
    ) -> impl Iterator<Item = Arc<Vars>> + 'a {
        let all = self.in_order().filter_map(|folder| folder.all.clone());
        let of_groups = self.in_order().flat_map(move |folder| {
            let found = groups.iter().filter_map(|group| folder.groups.get(group));
            found.cloned()
        });
        all.chain(of_groups)
    }

    /// The variables of a group with those in its files.
    pub(super) fn of_group(&self, group: u32, vars: &Arc<Vars>) -> Arc<Vars> {
        let files = self
            .in_order()
            .filter_map(|folder| folder.groups.get(&group));
        files.fold(Arc::clone(vars), |vars, file| vars.overlaid(file))
    }

    /// The variables of a host with those in its files.
    pub(super) fn of_host(&self, host: u32, vars: Option<&Arc<Vars>>) -> Option<Arc<Vars>> {
        let mut files = self.in_order().filter_map(|folder| folder.hosts.get(&host));
        match vars {
            Some(vars) => Some(files.fold(Arc::clone(vars), |vars, file| vars.overlaid(file))),
            None => {
                let first = files.next()?;
                Some(files.fold(Arc::clone(first), |vars, file| vars.overlaid(file)))
            }
        }
    }
}

/// Reads the folders beside all sources.
pub(super) fn read(builder: &mut Builder, hosts: &Hosts) -> Result<Files, Error> {
    let mut files = Files::default();
    let mut known: HashMap<PathBuf, usize> = HashMap::new();
    for Adjacent(folder) in std::mem::take(&mut builder.adjacent) {
        let index = match known.get(&folder) {
            Some(index) => *index,
            None => {
                let found = read_folder(builder, hosts, &folder, &mut files.sealed)?;
                files.folders.push(found);
                known.insert(folder, files.folders.len() - 1);
                files.folders.len() - 1
            }
        };
        files.order.push(index);
    }
    Ok(files)
}

fn read_folder(
    builder: &mut Builder,
    hosts: &Hosts,
    folder: &Path,
    sealed: &mut Vec<PathBuf>,
) -> Result<Folder, Error> {
    let mut found = Folder::default();
    let group_vars = list(builder, &folder.join("group_vars"))?;
    let group = |name: &str| match name {
        // All hosts have no group of their own in an inventory.
        "all" => Some(u32::MAX),
        name => builder.known(name),
    };
    for (group, path) in named(group_vars, group) {
        let Some(vars) = vars_at(builder, &path, sealed)? else {
            continue;
        };
        if group == u32::MAX {
            found.all = Some(vars);
        } else {
            found.groups.insert(group, vars);
        }
    }
    let host = |name: &str| hosts.index.get(name).copied();
    let host_vars = list(builder, &folder.join("host_vars"))?;
    for (host, path) in named(host_vars, host) {
        if let Some(vars) = vars_at(builder, &path, sealed)? {
            found.hosts.insert(host, vars);
        }
    }
    Ok(found)
}

/// The file or folder of each name that is known. A name without extension comes before `.yml`, `.yaml` and `.json`.
fn named(paths: Vec<PathBuf>, known: impl Fn(&str) -> Option<u32>) -> BTreeMap<u32, PathBuf> {
    let mut found: BTreeMap<u32, (usize, PathBuf)> = BTreeMap::new();
    for path in paths {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else {
            continue;
        };
        let with_extension = EXTENSIONS
            .iter()
            .enumerate()
            .filter_map(|(rank, extension)| Some((rank + 1, name.strip_suffix(extension)?)));
        for (rank, name) in std::iter::once((0, name)).chain(with_extension) {
            // A link that leads nowhere is no file.
            if let Some(index) = known(name)
                && found.get(&index).is_none_or(|(best, _)| rank < *best)
                && path.exists()
            {
                found.insert(index, (rank, path.clone()));
            }
        }
    }
    let paths = found.into_iter();
    paths.map(|(index, (_, path))| (index, path)).collect()
}

const EXTENSIONS: [&str; 3] = [".yml", ".yaml", ".json"];

/// What is in a folder, by name; nothing if there is no such folder.
fn list(builder: &mut Builder, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    match folder.is_dir() {
        true => builder.files.list(folder),
        false => Ok(Vec::new()),
    }
}

/// The variables of a file, or of the files in a folder and the folders in it.
fn vars_at(
    builder: &mut Builder,
    path: &Path,
    sealed: &mut Vec<PathBuf>,
) -> Result<Option<Arc<Vars>>, Error> {
    let mut vars = Vec::new();
    collect(builder, path, &mut vars, sealed)?;
    Ok(Vars::new(vars))
}

fn collect(
    builder: &mut Builder,
    path: &Path,
    vars: &mut Vec<Var>,
    sealed: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    if !path.is_dir() {
        return vars_file(builder, path, vars, sealed);
    }
    for path in list(builder, path)? {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else {
            continue;
        };
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let extension = path.extension().is_some();
        let known = EXTENSIONS.iter().any(|extension| name.ends_with(extension));
        let wanted = if path.is_dir() {
            !extension
        } else {
            (!extension || known) && fs::metadata(&path).is_ok_and(|of| of.is_file())
        };
        if wanted {
            collect(builder, &path, vars, sealed)?;
        }
    }
    Ok(())
}
