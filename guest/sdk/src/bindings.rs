//! What `wit-bindgen` makes of `runtime/wit/actor.wit`: the functions that take and give frames, the host's, and the export
//! macro. Authors use the SDK's own types; these are public because `export!` expands to them.
#![allow(unsafe_code, missing_docs, rust_2018_idioms, clippy::all)]

wit_bindgen::generate!({
    world: "gen-server",
    path: "../../runtime/wit",
    pub_export_macro: true,
    default_bindings_module: "midflight_guest::bindings",
});
