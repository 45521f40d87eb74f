//! Which reader a source is for: a folder, a program, INI, Ansible's YAML, a list of hosts or the native format.
//!
//! The rules are those of `docs/inventory.md`. They look at what a source is and at its first words, never at whether a
//! reader happens to succeed: what is taken for one format and is wrong in it is an error.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::ansible::{self, script};
use crate::builder::{Adjacent, Builder};
use crate::document::{self, Dialect, Kind, Node};
use crate::error::Error;
use crate::input::Input;
use crate::lists;
use crate::model::Inventory;
use crate::native;
use crate::place::Source;

/// The keys at the top of a native file.
const NATIVE: [&str; 5] = ["groups", "policy", "vars", "transport", "ssh"];
/// Ends of names that a folder of sources may have beside them; those of Ansible.
const IGNORED: [&str; 13] = [
    ".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".ini", ".cfg",
    ".retry",
];

/// Reads sources as one inventory.
pub(crate) fn read(inputs: &[Input]) -> Result<Inventory, Error> {
    // A name that is mistyped is better told at once than behind what is wrong in the sources before it.
    for input in inputs {
        if let Input::Path(path) = input
            && let Err(source) = fs::metadata(path)
        {
            return Err(Error::Read {
                path: path.clone(),
                source,
            });
        }
    }
    let mut builder = Builder::default();
    for input in inputs {
        match input {
            Input::Path(path) if path.is_dir() => {
                builder.adjacent(Adjacent(path.clone()));
                folder(&mut builder, path)?;
            }
            Input::Path(path) => file(&mut builder, path, true)?,
            Input::Nodes(nodes) => {
                let (index, source) = builder.files.add(Source::new("nodes", nodes.as_str()));
                lists::read(&mut builder, index, &source)?;
            }
            Input::Names(names) => lists::read_names(&mut builder, names)?,
        }
    }
    builder.finish()
}

/// Reads one text as the native format.
pub(crate) fn parse_native(text: &str, name: &str) -> Result<Inventory, Error> {
    let mut builder = Builder::default();
    let (index, source) = builder.files.add(Source::new(name, text));
    let root = document::parse(&source, Dialect::Native)?;
    native::read(&mut builder, index, &source, &root)?;
    drop(root);
    builder.finish()
}

/// Every source in a folder, by name, and in the folders in it. The length of a path, and with it the depth of this
/// recursion, is bounded by the operating system.
fn folder(builder: &mut Builder, path: &Path) -> Result<(), Error> {
    let mut found = false;
    for path in builder.files.list(path)? {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else {
            continue;
        };
        let beside = name.starts_with('.')
            || matches!(name, "host_vars" | "group_vars" | "vars_plugins")
            || IGNORED.iter().any(|end| name.ends_with(end));
        if beside {
            continue;
        }
        found = true;
        if path.is_dir() {
            folder(builder, &path)?;
        } else {
            // The folders of variables are those beside the folder itself.
            file(builder, &path, false)?;
        }
    }
    if found {
        return Ok(());
    }
    Err(unknown(
        path,
        "the folder has no inventory in it; hidden files, and files whose names end with .ini, .cfg, .md, .txt and the like, are passed over as Ansible does",
        "name a file, or rename it",
    ))
}

fn file(builder: &mut Builder, path: &Path, with_adjacent: bool) -> Result<(), Error> {
    let unreadable = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let beside = Adjacent(match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    });
    match script::is_program(path).map_err(unreadable)? {
        script::Kind::Program => {
            if with_adjacent {
                builder.adjacent(beside);
            }
            return script::read(builder, path);
        }
        script::Kind::ScriptWithoutPermission => {
            return Err(unknown(
                path,
                "it begins with #! as a script does, and may not be executed",
                "chmod +x it if it is an executable inventory, or take the first line out",
            ));
        }
        script::Kind::Text => {}
    }
    let (index, source) = builder.files.read(path)?;
    let format = format(path, &source.text)?;
    if with_adjacent && format != Format::Native {
        builder.adjacent(beside);
    }
    read_as(builder, path, index, &source, format)
}

/// Reads one text in whatever format it is; nothing is run, and no files beside it are looked for.
pub(crate) fn parse(text: &str, name: &str) -> Result<Inventory, Error> {
    let mut builder = Builder::default();
    let (index, source) = builder.files.add(Source::new(name, text));
    let path = Path::new(name);
    let format = format(path, &source.text)?;
    read_as(&mut builder, path, index, &source, format)?;
    builder.finish()
}

fn read_as(
    builder: &mut Builder,
    path: &Path,
    index: u32,
    source: &Source,
    format: Format,
) -> Result<(), Error> {
    match format {
        Format::Ini => ansible::ini::read(builder, index, source),
        Format::List => lists::read(builder, index, source),
        Format::Native => {
            let root = document::parse(source, Dialect::Native)?;
            native::read(builder, index, source, &root)
        }
        Format::Yaml => {
            let root = document::parse(source, Dialect::Ansible)?;
            match marked(path, &root)? {
                Marked::Inventory => ansible::yaml::read(builder, index, source, &root),
                Marked::Printed => script::read_printed(builder, index, source, &root, None),
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Native,
    Yaml,
    Ini,
    List,
}

/// The format of a file, by the end of its name and its first words.
fn format(path: &Path, text: &str) -> Result<Format, Error> {
    if text.starts_with(ansible::VAULT_HEADER) {
        return Err(Error::Encrypted {
            path: path.to_owned(),
        });
    }
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or("");
    if extension == "toml" {
        return Err(unknown(
            path,
            "it is TOML by its name, which is not read",
            "write what `ansible-inventory --list` prints for it into a .json file, and name that",
        ));
    }
    let yaml = matches!(extension, "yml" | "yaml" | "json");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().filter(|line| {
        let line = line.trim();
        !(line.is_empty() || line.starts_with('#') || line.starts_with('%') || line == "---")
    });
    let first = lines.next().unwrap_or("").trim();
    let first = first.strip_prefix("--- ").unwrap_or(first).trim_start();
    let begins_yaml = text.starts_with("---")
        || first.starts_with('{')
        || first.starts_with("- ")
        || first
            .split_whitespace()
            .next()
            .is_some_and(|word| word.ends_with(':'));
    if !yaml && !begins_yaml {
        return Ok(match lists::is_list(text) {
            true => Format::List,
            false => Format::Ini,
        });
    }
    let key = first.trim_start_matches(['{', ' ', '\t']);
    let key = match key.is_empty() {
        // A bracket on a line of its own: the key is on the next.
        true => lines.next().unwrap_or("").trim(),
        false => key,
    };
    let key = key.trim_start_matches(['"', '\'']);
    let end = key
        .find(['"', '\'', ':', ' ', '\t', '}'])
        .unwrap_or(key.len());
    let key = &key[..end];
    Ok(match NATIVE.contains(&key) || key.is_empty() {
        true => Format::Native,
        false => Format::Yaml,
    })
}

enum Marked {
    Inventory,
    /// What a program prints, or `ansible-inventory --list`.
    Printed,
}

/// What the keys at the top of a YAML file say it is.
fn marked(path: &Path, root: &Node<'_>) -> Result<Marked, Error> {
    let Kind::Map(entries) = &root.kind else {
        return Ok(Marked::Inventory);
    };
    let has = |name: &str| entries.iter().any(|(key, _)| key.text == name);
    if has("plugin") {
        return Err(unknown(
            path,
            "it configures an inventory plugin, and plugins are not run",
            "write what `ansible-inventory --list` prints for it into a .json file, and name that",
        ));
    }
    if has("_meta") {
        return Ok(Marked::Printed);
    }
    if has("groups") || has("policy") {
        return Err(unknown(
            path,
            "it has groups or a policy, as a native inventory does, behind the name of a group, as Ansible's YAML begins",
            "begin a native inventory with `groups:`; in Ansible's YAML rename the group",
        ));
    }
    Ok(Marked::Inventory)
}

fn unknown(path: &Path, reason: &'static str, next: &'static str) -> Error {
    Error::UnknownFormat {
        path: path.to_owned(),
        reason,
        next,
    }
}
