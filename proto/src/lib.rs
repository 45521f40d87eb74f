//! The gRPC contract between controllers and agents, generated from `proto/midflight/**/*.proto`, and the few helpers
//! that both sides need to read it the same way. It knows neither the runtime nor the rollout engine.

/// `midflight.agent.v1`: what a controller may ask of one node.
#[allow(missing_docs, clippy::all)] // generated; the documentation is in the .proto file
pub mod agent {
    #[allow(rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("midflight.agent.v1");
    }
}

/// The encoded descriptors of everything above, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

mod failure;
