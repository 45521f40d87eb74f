//! Who is at the other end of a connection, and what that peer may ask. The role comes from the organisational unit of the
//! client certificate, or from the user id behind a Unix socket; without a known role a peer may ask nothing.

use std::collections::BTreeMap;

use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate says its holder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, and drives rollouts.
    Operator,
    /// Reads, and looks into actors.
    Debugger,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Describe, watch, health, reflection, the status of an actor.
    Read,
    /// Stage, upgrade, confirm, roll back.
    Roll,
    /// An actor's state, read or changed.
    Debug,
}

/// The other end of one connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// For the journal: common name and address, or the user id.
    pub name: String,
    /// None: it may ask nothing.
    pub role: Option<Role>,
}

impl Peer {
    /// Whether it may ask what needs `right`.
    pub fn may(&self, right: Right) -> bool {
        match (self.role, right) {
            (None, _) => false,
            (Some(_), Right::Read) => true,
            (Some(role), Right::Roll) => role == Role::Operator,
            (Some(role), Right::Debug) => role == Role::Debugger,
        }
    }

    /// The holder of a certificate that has been verified already, if only when its session began. More than one
    /// organisational unit, one that is no role, or a certificate that has run out since, gives no role.
    pub fn of_certificate(der: &[u8], address: &str) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Self {
                name: address.to_owned(),
                role: None,
            };
        };
        let subject = certificate.subject();
        let name = subject
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .unwrap_or("unnamed");
        let mut units = subject.iter_organizational_unit();
        let role = match (
            certificate.validity().is_valid(),
            units.next().and_then(|unit| unit.as_str().ok()),
            units.next(),
        ) {
            (true, Some("viewer"), None) => Some(Role::Viewer),
            (true, Some("operator"), None) => Some(Role::Operator),
            (true, Some("debugger"), None) => Some(Role::Debugger),
            _ => None,
        };
        Self {
            name: format!("{name} at {address}"),
            role,
        }
    }
}

/// Who may use a Unix socket: the own user and root as operators, and whoever else is listed.
#[derive(Clone, Debug)]
pub struct Locals {
    own: u32,
    listed: BTreeMap<u32, Role>,
}

impl Locals {
    /// The user of this process, root, and these user ids. A role that is listed for the own user or root is theirs instead.
    #[must_use]
    pub fn new(listed: BTreeMap<u32, Role>) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self { own, listed }
    }

    /// Whether anybody but the own user and root may connect.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.listed.keys().any(|&uid| uid != self.own && uid != 0)
    }

    /// The process behind a connection, by its user id. One that may not connect has no role.
    #[must_use]
    pub fn peer(&self, uid: u32) -> Peer {
        let unlisted = (uid == self.own || uid == 0).then_some(Role::Operator);
        Peer {
            name: format!("uid {uid}"),
            role: self.listed.get(&uid).copied().or(unlisted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_gives_its_rights_and_no_others() {
        let peer = |role| Peer {
            name: String::new(),
            role,
        };
        let rights =
            |role| [Right::Read, Right::Roll, Right::Debug].map(|right| peer(role).may(right));
        assert_eq!(rights(None), [false, false, false]);
        assert_eq!(rights(Some(Role::Viewer)), [true, false, false]);
        assert_eq!(rights(Some(Role::Operator)), [true, true, false]);
        assert_eq!(rights(Some(Role::Debugger)), [true, false, true]);
    }

    fn locals(listed: &[(u32, Role)]) -> Locals {
        Locals {
            own: 1000,
            listed: listed.iter().copied().collect(),
        }
    }

    #[test]
    fn only_the_own_user_and_root_have_a_role_on_a_unix_socket_where_nobody_is_listed() {
        let locals = locals(&[]);
        assert!(!locals.has_others());
        assert_eq!(locals.peer(1000).role, Some(Role::Operator));
        assert_eq!(locals.peer(0).role, Some(Role::Operator));
        assert_eq!(locals.peer(1001).role, None);
    }

    #[test]
    fn a_listed_user_has_the_role_that_is_listed_the_own_user_and_root_too() {
        let given = locals(&[(0, Role::Viewer), (1001, Role::Debugger)]);
        assert!(given.has_others());
        assert_eq!(given.peer(0).role, Some(Role::Viewer));
        assert_eq!(given.peer(1000).role, Some(Role::Operator));
        assert_eq!(given.peer(1001).role, Some(Role::Debugger));
        assert_eq!(given.peer(1002).role, None);
        assert!(!locals(&[(0, Role::Viewer), (1000, Role::Viewer)]).has_others());
    }

    #[test]
    fn what_is_no_certificate_has_no_role() {
        assert_eq!(Peer::of_certificate(b"rubbish", "x").role, None);
    }
}
