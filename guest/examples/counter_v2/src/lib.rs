//! The counter, version 2.0.0, a module of its own: the actor is in `counter.rs`.

mod counter;

midflight_guest::export!(counter::Counter);

#[cfg(test)]
mod tests;
