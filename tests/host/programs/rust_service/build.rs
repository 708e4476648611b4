//! Where libmemgov.a is: MEMGOV_BUILD names the build directory.
fn main() {
    let build = std::env::var("MEMGOV_BUILD").expect("MEMGOV_BUILD");
    println!("cargo:rustc-link-search=native={build}/client/c");
    println!("cargo:rustc-link-lib=static=memgov");
    println!("cargo:rerun-if-env-changed=MEMGOV_BUILD");
    println!("cargo:rerun-if-changed={build}/client/c/libmemgov.a");
}
