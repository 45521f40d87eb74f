//! What may be part of an actor's state. A state is compared, replayed and run again by its bytes, so its bytes must
//! follow from its meaning alone: maps with random keys order themselves anew in each instance and are refused at
//! compile time. The marker says nothing about size.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A type whose encoded bytes follow from its value alone. Derived by `#[state]`, or by `#[derive(Stable)]` for a type
/// that is part of a state.
///
/// ```
/// # use midflight_guest::state;
/// # use std::collections::BTreeMap;
/// #[state]
/// struct Sessions { open: BTreeMap<String, u64> }
/// ```
///
/// A `HashMap` iterates in an order of its own in every instance:
///
/// ```compile_fail,E0277
/// # use midflight_guest::state;
/// # use std::collections::HashMap;
/// #[state]
/// struct Sessions { open: HashMap<String, u64> }
/// ```
///
/// It cannot hide inside another type, nor be the state itself:
///
/// ```compile_fail,E0277
/// # use midflight_guest::state;
/// # use std::collections::HashSet;
/// #[state]
/// enum Seen { Nobody, Some(Vec<Option<HashSet<u64>>>) }
/// ```
///
/// ```compile_fail,E0277
/// # use midflight_guest::Stable;
/// fn is_stable<T: Stable>() {}
/// is_stable::<std::collections::HashMap<u64, u64>>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of an actor's state",
    label = "its bytes may differ between two runs that mean the same",
    note = "use BTreeMap or BTreeSet instead of HashMap or HashSet; put `#[state]` or `#[derive(Stable)]` on a type of your own"
)]
pub trait Stable {}

macro_rules! stable {
    ($($type:ty),* $(,)?) => { $(impl Stable for $type {})* };
}
stable!(
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    bool,
    char,
    str,
    String,
    ()
);
stable!(Duration, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr);
stable!(
    crate::Pid,
    crate::Socket,
    crate::Id,
    crate::ReplyTo,
    crate::Dest,
    crate::Active
);

impl<T: Stable> Stable for Vec<T> {}
impl<T: Stable> Stable for [T] {}
impl<T: Stable, const N: usize> Stable for [T; N] {}
impl<T: Stable> Stable for Option<T> {}
impl<T: Stable, E: Stable> Stable for Result<T, E> {}
impl<T: Stable + ?Sized> Stable for Box<T> {}
impl<T: Stable> Stable for VecDeque<T> {}
impl<T: Stable> Stable for BTreeSet<T> {}
impl<K: Stable, V: Stable> Stable for BTreeMap<K, V> {}

macro_rules! stable_tuples {
    ($($name:ident)*) => { impl<$($name: Stable),*> Stable for ($($name,)*) {} };
}
stable_tuples!(A);
stable_tuples!(A B);
stable_tuples!(A B C);
stable_tuples!(A B C D);
stable_tuples!(A B C D E);
stable_tuples!(A B C D E F);

#[cfg(test)]
mod tests {
    use super::Stable;
    use crate::state;

    #[state]
    enum Tree {
        Leaf(u64),
        Node(Box<Tree>, Box<Tree>),
    }

    #[state]
    struct Pair<T> {
        left: T,
        right: Option<T>,
    }

    #[test]
    fn a_state_may_contain_itself_and_be_generic() {
        fn is_stable<T: Stable>() {}
        is_stable::<Tree>();
        is_stable::<Pair<Vec<String>>>();
        let tree = Tree::Node(Box::new(Tree::Leaf(1)), Box::new(Tree::Leaf(2)));
        assert!(matches!(tree, Tree::Node(left, _) if matches!(*left, Tree::Leaf(1))));
        let pair = Pair {
            left: 1,
            right: None,
        };
        assert_eq!((pair.left, pair.right), (1, None));
    }
}
