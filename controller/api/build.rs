//! Generates the protocol buffers' types and the services, without `protoc`.

fn main() {
    #[cfg(feature = "grpc")]
    grpc::generate();
}

#[cfg(feature = "grpc")]
mod grpc {
    use tonic_prost_build::manual::{Builder, Method, Service};

    const PROTOS: [&str; 2] =
        ["proto/vtepd/v1/vtep_session.proto", "proto/vtepd/v1/controller_session.proto"];

    pub(super) fn generate() {
        println!("cargo::rerun-if-changed=proto");
        let files = protox::compile(PROTOS, ["proto"]).unwrap_or_else(|error| panic!("{error:?}"));
        tonic_prost_build::configure()
            .btree_map(".")
            .build_client(false)
            .build_server(false)
            .compile_fds(files)
            .expect("cargo's own directory can be written");
        // The services speak our own types: their codec converts and checks.
        Builder::new().compile(&[
            service("VtepSession", "attach", "Attach", ["crate::FromVtep", "crate::ToVtep"]),
            service("ControllerSession", "join", "Join", ["crate::FromPhysical", "crate::FromLogical"]),
        ]);
    }

    fn service(name: &str, method: &str, route: &str, [input, output]: [&str; 2]) -> Service {
        let method = Method::builder()
            .name(method)
            .route_name(route)
            .input_type(input)
            .output_type(output)
            .codec_path("crate::grpc::codec::Messages")
            .client_streaming()
            .server_streaming();
        Service::builder().name(name).package("vtepd.v1").method(method.build()).build()
    }
}
