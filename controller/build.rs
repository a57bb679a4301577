//! Generates etcd's client, without `protoc`.

fn main() {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/etcd.proto"], ["proto"]).unwrap_or_else(|error| panic!("{error:?}"));
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(files)
        .expect("cargo's own directory can be written");
}
