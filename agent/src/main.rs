use std::process::ExitCode;

fn main() -> ExitCode {
    vtep_agent::cli::main()
}
