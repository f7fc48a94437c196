//! `cargo xtask`: downloads, tests, lints and benchmarks.
//!
//! It links neither libtorch nor polars, so that a fresh clone builds it in seconds.

/// Prints a line on standard error like `eprintln!`, which panics if it is closed.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

/// Prints a line on standard output like `println!`, which panics if it is closed.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod archive;
mod bench;
mod cargo;
mod dataset;
mod libtorch;
mod net;
mod prose;
mod quickstart;
mod readme_images;
mod sha256sums;
mod soak;
mod supply_chain;
mod test;
mod weights;
mod workspace;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Tasks of the workspace
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Program {
    /// Root of the workspace [default: the workspace of this program]
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetch what is missing, build, and fine-tune the pocket model
    Quickstart,
    /// Fetch libtorch into libtorch/, for the build
    #[command(after_help = libtorch::HELP)]
    FetchLibtorch(libtorch::FetchArgs),
    /// Fetch a pretrained GPT-2 into weights/
    #[command(after_help = weights::HELP)]
    FetchWeights(weights::FetchArgs),
    /// Fetch the SMS Spam Collection into datasets/
    #[command(after_help = dataset::HELP)]
    FetchDataset(dataset::FetchArgs),
    /// Run the tests, after fetching libtorch if it is missing
    #[command(after_help = test::HELP)]
    Test(test::TestArgs),
    /// Repeat the randomized tests with new seeds for some time
    #[command(after_help = soak::HELP)]
    Soak(soak::SoakArgs),
    /// Check text (style), formatting (rustfmt), code (clippy) and documentation (rustdoc)
    Lint(test::LintArgs),
    /// Check the dependencies: licenses, versions, origins, advisories
    #[command(after_help = supply_chain::HELP)]
    SupplyChain(supply_chain::Args),
    /// Train the pocket model, and render the images of the README
    ReadmeImages,
    /// Measure the speed of fine-tuning, also of Python programs
    #[command(after_help = bench::HELP)]
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let root = workspace::find(program.root);
    let result = match &program.task {
        Task::Quickstart => quickstart::quickstart(&root),
        Task::FetchLibtorch(args) => libtorch::fetch(&root, args),
        Task::FetchWeights(args) => weights::fetch(&root, args),
        Task::FetchDataset(args) => dataset::fetch(&root, args),
        Task::Test(args) => test::test(&root, args),
        Task::Soak(args) => soak::soak(&root, args),
        Task::Lint(args) => test::lint(&root, args),
        Task::SupplyChain(args) => supply_chain::check(&root, args),
        Task::ReadmeImages => readme_images::render(&root),
        Task::Bench(args) => bench::bench(&root, args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Some errors repeat their cause.
            let mut text = String::new();
            for cause in error.chain().map(ToString::to_string) {
                if !text.ends_with(&cause) {
                    text += if text.is_empty() { "" } else { ": " };
                    text += &cause;
                }
            }
            say!("error: {text}");
            ExitCode::FAILURE
        }
    }
}
