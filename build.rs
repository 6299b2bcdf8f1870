//! Tells the linker which functions belong next to each other: `cross/order.ld`, which `cross/order-code` writes and explains.
//!
//! `FIELDWAY_CODE_ORDER=no` leaves it out, for linkers that take no scripts, such as mold.

use std::env::var;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cross/order.ld");
    println!("cargo:rerun-if-env-changed=FIELDWAY_CODE_ORDER");
    let is_wanted = var("FIELDWAY_CODE_ORDER").as_deref() != Ok("no");
    // Unoptimised code has other functions, and other systems have other linkers.
    let is_release = var("PROFILE").as_deref() == Ok("release");
    let is_linux = var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux");
    if is_wanted && is_release && is_linux {
        let folder = var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
        println!("cargo:rustc-link-arg-bins=-Wl,--script={folder}/cross/order.ld");
    }
}
