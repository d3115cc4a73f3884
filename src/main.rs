//! The `holdfast` binary: flags to role to exit code.
fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
