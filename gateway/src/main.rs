//! The `sluice` binary: the allocator, and the way into the command line.

/// Steps are instantiated and dropped thousands of times a second; mimalloc bears
/// that better than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    sluice::cli::run(std::env::args_os())
}
