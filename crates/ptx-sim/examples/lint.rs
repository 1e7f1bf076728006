//! Lints PTX files: `cargo run -p ptx-sim --example lint -- FILE...`.

use ptx_sim::{Module, lint};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in std::env::args().skip(1) {
        let module = Module::parse(&std::fs::read_to_string(&file)?).map_err(|e| format!("{file}: {e}"))?;
        let mut options = lint::LintOptions::default();
        options.ptxas = ptx_sim::profile::find_ptxas();
        options.file = Some(file.clone().into());
        for finding in lint::lint(&module, &options) {
            println!("{file}: {finding}");
        }
    }
    Ok(())
}
