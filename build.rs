//! Tells the linker which functions belong next to each other: `cross/order.ld`, which `cross/order-code` writes and explains.

use std::env::var;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cross/order.ld");
    // Unoptimised code has other functions, and other systems have other linkers.
    if var("PROFILE").as_deref() == Ok("release") && var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        let folder = var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
        println!("cargo:rustc-link-arg-bins=-Wl,--script={folder}/cross/order.ld");
    }
}
