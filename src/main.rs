//! The `holdfast` binary: flags to role to exit code.
use clap::Parser;

#[derive(Parser)]
enum Command {
    Bench(Box<holdfast::cli::bench::BenchArgs>),
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let Command::Bench(args) = Command::parse();
    match holdfast::cli::bench::run(&args).await {
        Ok(judgement) => judgement.exit_code().into(),
        Err(error) => {
            tracing::error!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
