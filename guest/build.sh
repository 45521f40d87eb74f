#!/bin/sh
# guest/build.sh [FOLDER]
#
# Builds every example to guest/out/<name>.wasm, or the crates in FOLDER (its own Cargo.toml, or those one level below) to
# FOLDER/out/. What comes out are core modules that say which world they are made for; `midflight patch build` makes
# components of them. Quick when nothing changed.
#
# The modules need Rust's standard library for wasm32-unknown-unknown. In this order: the one that the toolchain has;
# `rustup target add`; on Debian, its packages of cargo, rustc and the library's source, from which the library is built
# (two to three minutes on two cores, once). Anything else ends with a message that says what to install.
#
#   MIDFLIGHT_GUEST_TARGET   where cargo builds; default: ${XDG_CACHE_HOME:-~/.cache}/midflight/guest-target
#   MIDFLIGHT_GUEST_TOOLS    `toolchain` or `debian`: do not look for another way
set -eu

guest=$(cd "$(dirname "$0")" && pwd)
folder=$(cd "${1:-$guest}" && pwd)
triple=wasm32-unknown-unknown
tools=${MIDFLIGHT_GUEST_TOOLS:-any}
CARGO_TARGET_DIR=${MIDFLIGHT_GUEST_TARGET:-${XDG_CACHE_HOME:-$HOME/.cache}/midflight/guest-target}
export CARGO_TARGET_DIR
# What guest/Cargo.toml says, for crates that stand alone.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=3 CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
export CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_STRIP=true
# Flags meant for the host's programs do not fit modules.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET RUSTC RUSTC_WRAPPER CARGO_INCREMENTAL

say() { printf 'guest: %s\n' "$*" >&2; }

has_library() {
    sysroot=$(cd "$folder" && rustc --print sysroot 2>/dev/null) && [ -d "$sysroot/lib/rustlib/$triple/lib" ]
}

# No network, or a toolchain that rustup does not manage: no reason to wait.
add_library() {
    command -v rustup >/dev/null 2>&1 || return 1
    say "adding $triple to the toolchain"
    (cd "$folder" && timeout 60 rustup target add "$triple") >/dev/null 2>&1 && has_library
}

# Debian's own programs, wherever a rustup comes first in PATH.
debian_ready() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && command -v wasm-ld-19 >/dev/null 2>&1 &&
        [ -f "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

debian_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || return 1
        as_root=sudo
    fi
    say "installing rustc-web cargo-web rust-web-src lld-19"
    install="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src lld-19"
    { $install || { $as_root apt-get update && $install; }; } >&2 && debian_ready
}

build() {
    way=$1
    cd "$folder"
    set -- build --release --workspace --lib --target "$triple"
    if [ "$folder" = "$guest" ]; then
        set -- "$@" --locked
    fi
    # The same source gives the same module in every home directory: a crate's own files go by relative names, the SDK and
    # what it is made of by these. The same flags for every folder, so that the SDK is compiled once.
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$guest=/guest"
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS
    if [ "$way" = debian ]; then
        # Cargo would otherwise ask rustup's rustc, which has no source of the library.
        env -u RUSTUP_TOOLCHAIN RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
            CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 \
            /usr/bin/cargo "$@" -Zbuild-std=std,panic_abort
    else
        cargo "$@"
    fi
    built=0
    mkdir -p out
    for manifest in Cargo.toml */Cargo.toml examples/*/Cargo.toml; do
        [ -f "$manifest" ] && grep -q cdylib "$manifest" || continue
        name=$(sed -n 's/^name *= *"\(.*\)"/\1/p' "$manifest" | head -n 1 | tr - _)
        module=$CARGO_TARGET_DIR/$triple/release/$name.wasm
        cmp -s "$module" "out/$name.wasm" || { cp "$module" "out/.$name.wasm" && mv "out/.$name.wasm" "out/$name.wasm"; }
        built=$((built + 1))
    done
    say "$built modules in $folder/out"
}

if [ "$tools" != debian ] && has_library; then
    build toolchain
elif [ "$tools" != debian ] && ! { [ "$tools" = any ] && debian_ready; } && add_library; then
    build toolchain
elif [ "$tools" != toolchain ] && { debian_ready || debian_install; }; then
    build debian
else
    say "Rust's standard library for $triple is missing. Install it, then run this again:"
    say "  with rustup:  rustup target add $triple"
    say "  on Debian:    apt-get install rustc-web cargo-web rust-web-src lld-19"
    exit 1
fi
