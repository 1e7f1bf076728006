//! Writes seeds for the fuzz targets: each function of the given PTX files as a module of its own, with the module's
//! variables. `seeds DIRECTORY FILE...`

use std::error::Error;
use std::path::{Path, PathBuf};

/// Longest seed: slower ones find less per second.
const LONGEST: usize = 16 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let into = args.next().ok_or("usage: seeds DIRECTORY FILE...")?;
    std::fs::create_dir_all(&into)?;
    for file in args {
        let text = std::fs::read_to_string(&file)?;
        cut(&text, &into, &file.display().to_string().replace(['/', '.'], "_"))?;
    }
    Ok(())
}

/// Top-level pieces end at a `}` in the first column (functions) or before the next directive that starts a line.
fn cut(text: &str, into: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    let starts = |l: &str| [".visible", ".entry", ".func", ".weak", ".extern", ".global", ".const", ".shared"].iter().any(|d| l.starts_with(d));
    let mut header = String::new();
    let (mut piece, mut count) = (String::new(), 0);
    let mut finish = |piece: &mut String, header: &mut String| -> std::io::Result<()> {
        if piece.contains("{\n") {
            let whole = format!("{header}{piece}");
            if whole.len() <= LONGEST {
                std::fs::write(into.join(format!("{name}_{count}")), whole)?;
                count += 1;
            }
        } else if header.len() < LONGEST / 2 {
            header.push_str(piece);
        }
        piece.clear();
        Ok(())
    };
    for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
        if starts(line) {
            finish(&mut piece, &mut header)?;
        }
        if !line.trim_start().starts_with(".loc") {
            piece.push_str(line);
            piece.push('\n');
        }
    }
    finish(&mut piece, &mut header)?;
    Ok(())
}
