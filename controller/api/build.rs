//! Generates the protocol buffers' types and the services, without `protoc`.

fn main() {
    #[cfg(feature = "grpc")]
    grpc::generate();
}

#[cfg(feature = "grpc")]
mod grpc {
    use tonic_prost_build::manual::{Builder, Method, MethodBuilder, Service};

    const PROTOS: [&str; 3] = [
        "proto/vtepd/v1/vtep_session.proto",
        "proto/vtepd/v1/controller_session.proto",
        "proto/vtepd/v1/inquiry.proto",
    ];

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
            session("VtepSession", "attach", "Attach", ["crate::FromVtep", "crate::ToVtep"]),
            session("ControllerSession", "join", "Join", ["crate::FromPhysical", "crate::FromLogical"]),
            service("Inquiry", method("ask", "Ask", ["crate::Question", "crate::Answer"])),
        ]);
    }

    /// Messages both ways.
    fn session(name: &str, does: &str, route: &str, messages: [&str; 2]) -> Service {
        service(name, method(does, route, messages).client_streaming())
    }

    /// One message, answered by any number.
    fn method(name: &str, route: &str, [input, output]: [&str; 2]) -> MethodBuilder {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(input)
            .output_type(output)
            .codec_path("crate::grpc::codec::Messages")
            .server_streaming()
    }

    fn service(name: &str, method: MethodBuilder) -> Service {
        Service::builder().name(name).package("vtepd.v1").method(method.build()).build()
    }
}
