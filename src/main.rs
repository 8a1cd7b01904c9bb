//! The `beaver` program: reads the command line and hands over.

/// Jobs, answers and messages are allocated by one thread and freed by another, millions a second.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    beaver::main()
}
