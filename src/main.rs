//! The `holdfast` binary: arguments in, exit code out. Everything between is in [`holdfast::cli`].

/// Small short-lived allocations on two threads are most of what a request does beside the kernel's work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    holdfast::cli::main(std::env::args_os())
}
