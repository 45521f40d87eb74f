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
