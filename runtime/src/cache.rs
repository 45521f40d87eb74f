//! Compiled code on disk, by engine and component digest, so that a node starts and patches without compiling again.
//! It is the one place that loads machine code: only from files that this machine wrote for itself, in a folder that
//! belongs to the agent's user, and only when the file's digest is right (a torn write is compiled anew).
#![allow(unsafe_code)]

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
};

use midflight_patch::Digest;
use wasmtime::{Engine, Module};

const DIGEST_BYTES: usize = 71; // "sha256:" and 64 hex digits

fn file_for(engine: &Engine, folder: &Path, blob: &Digest) -> PathBuf {
    let mut hash = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hash);
    let hex = blob.to_string().replace(':', "-");
    folder
        .join(format!("{:016x}", hash.finish()))
        .join(format!("{hex}.cwasm"))
}

/// The compiled core module of a component: from the cache when it is there and whole, else compiled and put there. A cache that cannot
/// be written costs time, never correctness.
pub(crate) fn load_or_compile(
    engine: &Engine,
    folder: Option<&Path>,
    blob: &Digest,
    core: &[u8],
) -> wasmtime::Result<Module> {
    let Some(folder) = folder else {
        return Module::new(engine, core);
    };
    let file = file_for(engine, folder, blob);
    if let Some(compiled) = load(engine, &file) {
        return Ok(compiled);
    }
    let code = engine.precompile_module(core)?;
    if let Err(e) = store(&file, &code) {
        tracing::warn!(file = %file.display(), error = %e, "compiled code is not cached");
    }
    // SAFETY: the bytes were made by this engine a moment ago and never left this process.
    unsafe { Module::deserialize(engine, &code) }
}

fn load(engine: &Engine, file: &Path) -> Option<Module> {
    let bytes = fs::read(file).ok()?;
    let (digest, code) = bytes.split_at_checked(DIGEST_BYTES)?;
    if Digest::of(code).to_string().as_bytes() != digest {
        tracing::warn!(file = %file.display(), "cached code is damaged; compiling again");
        return None;
    }
    // SAFETY: the file lies in a folder that belongs to the agent's user and is not writable by others, was written by
    // `store` from this engine's own output (its path holds the engine's compatibility hash), and is whole.
    unsafe { Module::deserialize(engine, code) }.ok()
}

fn store(file: &Path, code: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    create_private(folder)?;
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    let mut out = fs::File::create(&temporary)?;
    out.write_all(Digest::of(code).to_string().as_bytes())?;
    out.write_all(code)?;
    out.sync_all()?;
    fs::rename(&temporary, file)
}

fn create_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}
