//! Faults that tests plant, to show that the tests would notice them. `mutant!(name)` is the constant `false`, and what
//! hangs on it is not compiled into anything, unless this crate is built with the feature `mutants`; then the fault named
//! by the variable `MIDFLIGHT_MUTANT` is in force. `docs/verification.md` lists them.

/// True: the fault of this name is in force.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

/// True: the fault of this name is in force.
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutants::in_force(stringify!($name))
    };
}

#[cfg(feature = "mutants")]
pub(crate) fn in_force(name: &str) -> bool {
    use std::sync::OnceLock;

    static MUTANT: OnceLock<Option<String>> = OnceLock::new();
    let mutant = MUTANT.get_or_init(|| std::env::var("MIDFLIGHT_MUTANT").ok());
    mutant.as_deref() == Some(name)
}

/// `lease_on_wall_time`: whoever sets the machine's clock sets the time of leases.
#[cfg(feature = "mutants")]
pub(crate) fn on_wall_time(mut parts: crate::agent::Parts) -> crate::agent::Parts {
    use std::{sync::Arc, time::Duration};

    use crate::clock::{Clock, wall_ns};

    struct WallTime(Arc<dyn Clock>);

    impl Clock for WallTime {
        fn now(&self) -> Duration {
            Duration::from_nanos(wall_ns(&*self.0))
        }

        fn wall(&self) -> std::time::SystemTime {
            self.0.wall()
        }

        fn until(&self, at: Duration) -> futures::future::BoxFuture<'static, ()> {
            self.0.until(self.0.now() + at.saturating_sub(self.now()))
        }
    }

    if mutant!(lease_on_wall_time) {
        parts.clock = Arc::new(WallTime(parts.clock));
    }
    parts
}
