//! The gRPC contracts of agents and controllers, generated from `proto/midflight/**/*.proto`, and what both need to keep them
//! the same way: failures inside statuses, listeners, and who a peer is. It knows neither the runtime nor the rollout engine.

/// `midflight.agent.v1`: what a controller may ask of one node.
#[allow(missing_docs, clippy::all)] // generated; the documentation is in the .proto file
pub mod agent {
    #[allow(rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("midflight.agent.v1");
    }
}

/// `midflight.controller.v1`: what people and programs may ask of a controller.
#[allow(missing_docs, clippy::all)] // generated; the documentation is in the .proto file
pub mod controller {
    #[allow(rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("midflight.controller.v1");
    }
}

/// The encoded descriptors of everything above, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

mod failure;
pub mod listen;
pub mod peer;
pub mod tls;
