//! Compiles `meshprobe/v1/*.proto` without an installed protoc.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=meshprobe");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files([
        "meshprobe/v1/types.proto",
        "meshprobe/v1/prober.proto",
        "meshprobe/v1/mesh.proto",
    ])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("meshprobe.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    let mut config = tonic_prost_build::Config::new();
    // The JSON mapping finds the description of a message by its name.
    config.enable_type_names();
    tonic_prost_build::configure()
        // A client constructor of that name would collide with the rpc `Connect`; clients are made from a channel.
        .build_transport(false)
        .bytes(".meshprobe.v1.Block")
        .bytes(".meshprobe.v1.Matrix")
        .bytes(".meshprobe.v1.BundleChunk")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
