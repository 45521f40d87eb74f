//! Components: turns the core module that a Rust guest compiles to into a component, and checks from the outside that a
//! component has the shape of the world that modules implement; takes that core module out again, for the runtime, which
//! calls its functions itself. It compares names only; that the types fit, the runtime checks when it links. It executes
//! nothing.

use wasmparser::{
    ComponentExternalKind, ComponentTypeRef, Parser, Payload, TypeBounds, Validator, WasmFeatures,
};
use wit_component::ComponentEncoder;

use crate::error::Error;
use crate::manifest::WORLD;
use crate::names::ModuleName;

/// The functions that a module exports, all of them and nothing else, in the order of the world.
pub const EXPORTS: [&str; 10] = [
    "room",
    "init",
    "handle",
    "code-change",
    "convert-event",
    "on-load",
    "apply",
    "terminate",
    "describe",
    "parse",
];

/// The interfaces that a module may import: their version says which contract the module was built for.
pub const IMPORTS: [&str; 1] = ["midflight:actor/host@0.3.0"];

const IMPORTS_TEXT: &str = "midflight:actor/host@0.3.0";

/// Makes a component of `bytes`, a core module with the custom sections that wit-bindgen leaves, or a component already,
/// which is kept byte for byte; then checks it with [`check`]. `file` is for messages.
///
/// # Errors
/// [`Error::Component`] when it is neither, and the errors of [`check`].
pub fn encode(module: &ModuleName, file: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let component = if Parser::is_component(bytes) {
        bytes.to_vec()
    } else if Parser::is_core_wasm(bytes) {
        let encode = || {
            ComponentEncoder::default()
                .validate(true)
                .module(bytes)
                .and_then(|mut encoder| encoder.encode())
        };
        // The encoder trusts the sections that wit-bindgen leaves, and panics over damaged ones.
        let encoded = std::panic::catch_unwind(encode);
        let problem = match encoded {
            Ok(Ok(component)) => Ok(component),
            Ok(Err(error)) => Err(format!("cannot be made a component: {error:#}")),
            Err(_) => Err("cannot be made a component: its custom sections are damaged".to_owned()),
        };
        problem.map_err(|problem| refuse(module, file, problem))?
    } else {
        return Err(refuse(
            module,
            file,
            "is not WebAssembly: it does not start with `\\0asm` and a version".to_owned(),
        ));
    };
    check(module, file, &component)?;
    Ok(component)
}

/// Checks that `component` is a valid component which exports the functions in [`EXPORTS`], imports nothing but the
/// interfaces in [`IMPORTS`], and holds one [`core_module`].
///
/// # Errors
/// [`Error::Component`], [`Error::MissingExport`], [`Error::UnknownExport`] or [`Error::UnknownImport`].
pub fn check(module: &ModuleName, file: &str, component: &[u8]) -> Result<(), Error> {
    if !Parser::is_component(component) {
        return Err(refuse(module, file, "is not a component".to_owned()));
    }
    let invalid = |error: wasmparser::BinaryReaderError| {
        let problem = format!(
            "is not a valid component: {} at byte {:#x}",
            error.message(),
            error.offset()
        );
        refuse(module, file, problem)
    };
    Validator::new_with_features(WasmFeatures::default())
        .validate_all(component)
        .map_err(invalid)?;

    let mut nested = 0_u32;
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(invalid)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => nested += 1,
            Payload::End(_) => nested = nested.saturating_sub(1),
            Payload::ComponentImportSection(section) if nested == 0 => {
                for import in section {
                    let import = import.map_err(invalid)?;
                    let name = import.name.name;
                    // A `use` in the world imports the type itself as well: a name for a type that is known, no function.
                    if matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                        continue;
                    }
                    if !IMPORTS.contains(&name) {
                        let (module, file) = (module.clone(), file.to_owned());
                        let import = crate::error::cut(name, 200);
                        return Err(Error::UnknownImport {
                            module,
                            file,
                            import,
                            allowed: IMPORTS_TEXT,
                        });
                    }
                }
            }
            Payload::ComponentExportSection(section) if nested == 0 => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    let name = export.name.name;
                    if export.kind != ComponentExternalKind::Func || !EXPORTS.contains(&name) {
                        let (module, file) = (module.clone(), file.to_owned());
                        let export = crate::error::cut(name, 200);
                        return Err(Error::UnknownExport {
                            module,
                            file,
                            export,
                            world: WORLD,
                        });
                    }
                    exports.push(name);
                }
            }
            _ => {}
        }
    }
    match EXPORTS.into_iter().find(|name| !exports.contains(name)) {
        None => core_module(module, file, component).map(drop),
        Some(missing) => {
            let (module, file) = (module.clone(), file.to_owned());
            Err(Error::MissingExport {
                module,
                file,
                export: missing.to_owned(),
                world: WORLD,
            })
        }
    }
}

/// The core module inside a component: the one that exports a memory and, by the same names, what the component does.
/// Components of [`encode`] have exactly one; beside it they hold small ones that join it to its imports.
///
/// # Errors
/// [`Error::Component`] when the bytes cannot be read, and when there is no such module or more than one.
pub fn core_module<'b>(
    module: &ModuleName,
    file: &str,
    component: &'b [u8],
) -> Result<&'b [u8], Error> {
    let invalid = |error: wasmparser::BinaryReaderError| refuse(module, file, error.to_string());
    let (mut found, mut nested) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(invalid)? {
            Payload::ModuleSection {
                unchecked_range, ..
            } => nested.push((Some(unchecked_range), Vec::new())),
            Payload::ComponentSection { .. } => nested.push((None, Vec::new())),
            Payload::ExportSection(section) => {
                if let Some((_, names)) = nested.last_mut() {
                    for export in section {
                        names.push(export.map_err(invalid)?.name);
                    }
                }
            }
            Payload::End(_) => {
                let has = |names: &[&str]| {
                    names.contains(&"memory") && EXPORTS.iter().all(|e| names.contains(e))
                };
                if let Some((Some(range), names)) = nested.pop()
                    && has(&names)
                {
                    found.extend(component.get(range));
                }
            }
            _ => {}
        }
    }
    match found[..] {
        [core] => Ok(core),
        ref other => Err(refuse(
            module,
            file,
            format!(
                "holds {} core modules with a memory and the functions of {WORLD}; it must hold one",
                other.len()
            ),
        )),
    }
}

fn refuse(module: &ModuleName, file: &str, problem: String) -> Error {
    Error::Component {
        module: module.clone(),
        file: file.to_owned(),
        problem,
    }
}
