use std::process::ExitCode;

fn main() -> ExitCode {
    vtep_controller::cli::main()
}
