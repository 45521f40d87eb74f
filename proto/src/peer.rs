//! Who is at the other end of a connection, and what that peer may ask. The role comes from the organisational unit of the
//! client certificate, or from the user id behind a Unix socket; without a known role a peer may ask nothing.

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

    /// The process behind a Unix socket. Only `own` and root have a role.
    pub fn of_uid(uid: u32, own: u32) -> Self {
        let role = (uid == own || uid == 0).then_some(Role::Operator);
        Self {
            name: format!("uid {uid}"),
            role,
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

    #[test]
    fn only_the_own_user_and_root_have_a_role_on_a_unix_socket() {
        assert_eq!(Peer::of_uid(1000, 1000).role, Some(Role::Operator));
        assert_eq!(Peer::of_uid(0, 1000).role, Some(Role::Operator));
        assert_eq!(Peer::of_uid(1001, 1000).role, None);
    }

    #[test]
    fn what_is_no_certificate_has_no_role() {
        assert_eq!(Peer::of_certificate(b"rubbish", "x").role, None);
    }
}
