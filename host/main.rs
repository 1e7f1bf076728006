//! The `ironwarp` program: the library's training, evaluation and benchmarks on the command line.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
