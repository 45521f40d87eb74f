//! What INI, YAML and programs say alike, with the names that Ansible keeps for itself.
//!
//! `all` contains every group and is no group of an inventory; `ungrouped` has the hosts that are in no other. Both are
//! there without being written.

use std::sync::Arc;

use super::address::{self, Address, Wrong};
use super::python;
use crate::builder::Builder;
use crate::error::Error;
use crate::limits;
use crate::place::Spot;
use crate::value::Value;
use crate::vars::Vars;

/// A group as a source names it: `all` is no group of its own.
pub(crate) fn group(builder: &mut Builder, name: &str, spot: Spot) -> Result<Option<u32>, Error> {
    match name {
        "all" => Ok(None),
        "ungrouped" => Ok(Some(builder.ungrouped(spot))),
        _ => match address::flaw_of_group(name) {
            None => {
                let group = builder.group(name, spot);
                if group as usize >= limits::GROUPS {
                    return Err(too_many(builder, spot));
                }
                Ok(Some(group))
            }
            Some(reason) => Err(Error::BadName {
                at: builder.place(spot),
                what: "group name",
                name: name.to_owned(),
                reason,
                next: "use ASCII letters, digits, '_', '-' and '.'",
            }),
        },
    }
}

/// There are more groups than anybody means.
pub(super) fn too_many(builder: &Builder, spot: Spot) -> Error {
    Error::GroupsTooNested {
        at: builder.place(spot),
        reason: format!("there are more than {}", limits::GROUPS),
    }
}

/// Puts a group into another; `None` is `all`.
pub(crate) fn child(
    builder: &mut Builder,
    parent: Option<u32>,
    (name, child): (&str, Option<u32>),
    spot: Spot,
) -> Result<(), Error> {
    let refuse = |reason: &'static str| {
        Err(Error::BadName {
            at: builder.place(spot),
            what: "child of a group",
            name: name.to_owned(),
            reason,
            next: "take it out",
        })
    };
    let ungrouped = builder.known("ungrouped");
    match (parent, child) {
        (_, None) => refuse("'all' contains every group, and is in none"),
        (None, Some(child)) => {
            builder.root(child);
            Ok(())
        }
        (Some(_), child) if child == ungrouped => {
            refuse("'ungrouped' has the hosts that are in no group, and is in none itself")
        }
        (parent, _) if parent == ungrouped => {
            refuse("'ungrouped' has the hosts that are in no group, and no groups")
        }
        (Some(parent), Some(_)) => {
            builder.child(parent, name, spot);
            Ok(())
        }
    }
}

/// Sets a variable of a group; `ansible_group_priority` is no variable.
pub(crate) fn set(
    builder: &mut Builder,
    group: Option<u32>,
    name: &str,
    value: Value,
    spot: Spot,
) -> Result<(), Error> {
    if name != "ansible_group_priority" {
        builder.set(group, name, value, spot);
        return Ok(());
    }
    let Some(priority) = python::int(&value) else {
        return Err(Error::BadValue {
            at: builder.place(spot),
            what: name.to_owned(),
            expected: "a whole number",
            found: python::shown(&value),
        });
    };
    if let Some(group) = group {
        builder.priority(group, priority);
    }
    Ok(())
}

/// Lists the hosts of a name under a group.
pub(crate) fn hosts(
    builder: &mut Builder,
    group: Option<u32>,
    name: &str,
    address: Result<Address, Wrong>,
    spot: Spot,
    vars: Option<Arc<Vars>>,
) -> Result<(), Error> {
    let address = match address {
        Ok(address) => address,
        Err(Wrong::Range(flaw)) => {
            return Err(Error::BadRange {
                at: builder.files.place_in(spot, name, flaw.offset),
                reason: flaw.reason,
            });
        }
        Err(Wrong::Name(reason)) => {
            return Err(Error::BadName {
                at: builder.place(spot),
                what: "host name",
                name: name.to_owned(),
                reason,
                next: "write a name of ASCII letters, digits, '.', '-' and '_', with ranges such as [01:50], or an IP address, and a port as name:22 or [address]:22",
            });
        }
    };
    builder.listed(group, address.names, spot, vars, address.port)
}
