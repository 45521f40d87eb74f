//! Compiles the contract without a `protoc` on the machine, and keeps the descriptors for gRPC reflection.
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "proto/midflight/agent/v1/agent.proto",
        "proto/midflight/controller/v1/controller.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    let mut config = tonic_prost_build::Config::new();
    config.bytes([
        ".midflight.agent.v1.BlobChunk.data",
        ".midflight.agent.v1.StageHeader.manifest",
        ".midflight.controller.v1.BundleChunk.data",
    ]);
    tonic_prost_build::configure()
        .file_descriptor_set_path(&out)
        .compile_fds_with_config(descriptors.clone(), config)?;
    fs::write(&out, prost_encode(&descriptors))?;
    Ok(())
}

fn prost_encode(set: &prost_types::FileDescriptorSet) -> Vec<u8> {
    prost::Message::encode_to_vec(set)
}
