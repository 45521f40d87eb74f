//! What the example actors say to each other: one module per actor, one enum per direction. A new version adds variants
//! at the end and changes none, so messages of an older version mean the same to a newer one. States are not here:
//! they are nobody's business but the actor's own.

pub mod bench;
pub mod counter;
pub mod greeter;
pub mod pi;
pub mod tcp_demo;
