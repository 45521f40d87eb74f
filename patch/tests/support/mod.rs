//! Small real modules and bundles for the tests: a core module with the exports of a world and bodies that trap, made from the
//! WIT that guests use, in the way that a compiler and wit-bindgen leave it.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod manifests;
pub mod ssh;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use midflight_patch::Bundle;
use tempfile::TempDir;
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};
use wit_component::StringEncoding;
use wit_parser::abi::{AbiVariant, WasmSignature, WasmType};
use wit_parser::{Resolve, WorldItem};

/// The contract with guests.
pub fn wit() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/wit/actor.wit"))
        .unwrap()
}

/// A core module of world `gen-server` in `wit`; `tag` makes one differ from another.
pub fn core_module(wit: &str, tag: i32) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("actor.wit", wit).unwrap();
    let world = resolve
        .select_world(&[package], Some("gen-server"))
        .unwrap();

    let (mut types, mut imports, mut functions) = (
        TypeSection::new(),
        ImportSection::new(),
        FunctionSection::new(),
    );
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    let mut index = 0;
    for (key, item) in &resolve.worlds[world].imports {
        let WorldItem::Interface { id, .. } = item else {
            continue;
        };
        for function in resolve.interfaces[*id].functions.values() {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            add_type(&mut types, &signature);
            imports.import(
                &resolve.name_world_key(key),
                &function.name,
                EntityType::Function(index),
            );
            index += 1;
        }
    }
    let mut add =
        |types: &mut TypeSection, name: &str, signature: &WasmSignature, body: Function| {
            add_type(types, signature);
            functions.function(index);
            exports.export(name, ExportKind::Func, index);
            code.function(&body);
            index += 1;
        };
    for item in resolve.worlds[world].exports.values() {
        let WorldItem::Function(function) = item else {
            continue;
        };
        let signature = resolve.wasm_signature(AbiVariant::GuestExport, function);
        let mut body = Function::new([]);
        body.instructions()
            .i32_const(tag)
            .drop()
            .unreachable()
            .end();
        add(&mut types, &function.name, &signature, body);
    }
    let realloc = WasmSignature {
        params: vec![WasmType::I32; 4],
        results: vec![WasmType::I32],
        indirect_params: false,
        retptr: false,
    };
    let mut body = Function::new([]);
    body.instructions().unreachable().end();
    add(&mut types, "cabi_realloc", &realloc, body);

    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exports.export("memory", ExportKind::Memory, 0);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code);
    let mut bytes = module.finish();
    wit_component::embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .unwrap();
    bytes
}

fn add_type(types: &mut TypeSection, signature: &WasmSignature) {
    let value = |kind: &WasmType| match kind {
        WasmType::I64 | WasmType::PointerOrI64 => ValType::I64,
        WasmType::F32 => ValType::F32,
        WasmType::F64 => ValType::F64,
        WasmType::I32 | WasmType::Pointer | WasmType::Length => ValType::I32,
    };
    types.ty().function(
        signature.params.iter().map(value),
        signature.results.iter().map(value),
    );
}

/// A folder with files in it.
pub fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// A release `demo 1.0.0` with two modules and three kinds of actors.
pub fn release() -> (TempDir, Bundle) {
    let yaml = "name: demo\nto: \"1.0.0\"\nmodules:\n  - {name: greeter, file: greeter.wasm, config: {lang: en}}\n  \
                - {name: counter, file: counter.wasm}\nstart:\n  - {name: counter, module: counter, count: 3, args: {from: 0}}\n  \
                - {name: greeter, module: greeter, restart: transient}\nlisten: [7001]\n";
    let wit = wit();
    let files: [(&str, &[u8]); 3] = [
        ("patch.yaml", yaml.as_bytes()),
        ("counter.wasm", &core_module(&wit, 1)),
        ("greeter.wasm", &core_module(&wit, 2)),
    ];
    let folder = folder(&files);
    let bundle = Bundle::build(&folder.path().join("patch.yaml")).unwrap();
    (folder, bundle)
}

/// A patch `demo 1.0.0 -> 2.0.0` of the counter.
pub fn patch() -> (TempDir, Bundle) {
    let yaml = "name: demo\nfrom: \"1.0.0\"\nto: \"2.0.0\"\nmodules:\n  \
                - {name: counter, file: counter.wasm, update: advanced, extra: {step: 2}}\n";
    let folder = folder(&[
        ("patch.yaml", yaml.as_bytes()),
        ("counter.wasm", &core_module(&wit(), 3)),
    ]);
    let bundle = Bundle::build(&folder.path().join("patch.yaml")).unwrap();
    (folder, bundle)
}

/// Runs a program; whether it is there is for the caller to know.
pub fn run(program: &str, args: &[&str], input: &[u8]) -> Output {
    use std::io::Write as _;
    use std::process::Stdio;

    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    // A program that does not read its input to the end is not wrong for that.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A fresh key pair by ssh-keygen; the public key's path has `.pub` appended.
pub fn new_key(folder: &Path, name: &str, kind: &[&str], passphrase: &str) -> PathBuf {
    let path = folder.join(name);
    let mut args = vec![
        "-q",
        "-N",
        passphrase,
        "-C",
        name,
        "-f",
        path.to_str().unwrap(),
        "-t",
    ];
    args.extend(kind);
    let output = run("ssh-keygen", &args, b"");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    path
}
