//! The `holdfast` binary: arguments in, exit code out. Everything between is in [`holdfast::cli`].
fn main() -> std::process::ExitCode {
    holdfast::cli::main(std::env::args_os())
}
