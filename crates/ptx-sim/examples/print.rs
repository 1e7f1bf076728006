//! Parses a PTX file and prints it again: `cargo run -p ptx-sim --example print -- FILE.ptx`.
//!
//! What it prints is what the syntax tree holds: the same program without comments and debug sections.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: print FILE.ptx");
        return ExitCode::from(2);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) => {
            eprintln!("{path}: {e}");
            return ExitCode::from(2);
        }
    };
    match ptx_sim::parse::parse(&text) {
        Ok(ast) => {
            print!("{ast}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{path}:{e}");
            ExitCode::from(2)
        }
    }
}
