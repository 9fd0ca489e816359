//! Compiles the .proto files under proto/ to Rust, without protoc.

use std::{env, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_file("p4/v1/p4runtime.proto")?;
    let mut files = compiler.file_descriptor_set();

    // Ordered maps: the same P4Info has the same bytes every time.
    // Messages are measured before they are decoded, by their names.
    let mut config = prost_build::Config::new();
    config.enable_type_names().btree_map(["."]);
    #[cfg(feature = "grpc")]
    tonic_prost_build::configure()
        .codec_path("crate::wire::Codec")
        .compile_fds_with_config(files.clone(), config)?;
    #[cfg(not(feature = "grpc"))]
    config.compile_fds(files.clone())?;

    // What the crate carries along for the text format and for tests needs no comments.
    for file in &mut files.file {
        file.source_code_info = None;
    }
    let path = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.binpb");
    fs::write(path, files.encode_to_vec())?;
    Ok(())
}
