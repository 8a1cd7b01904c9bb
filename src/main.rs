//! The `beaver` program: reads the command line and hands over.

fn main() -> std::process::ExitCode {
    beaver::cli::main()
}
