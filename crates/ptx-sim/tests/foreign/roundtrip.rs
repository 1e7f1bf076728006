//! Every PTX file of the corpus: parse, print, parse is the identity, and every kernel decodes.

use ptx_sim::Module;
use ptx_sim::parse::parse;
use std::path::Path;

#[test]
fn all_files_round_trip() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "ptx") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let ast = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let printed = ast.to_string();
        let again = parse(&printed).unwrap_or_else(|e| panic!("{}, printed: {e}", path.display()));
        assert!(ast == again, "{} changes when it is printed", path.display());
        let module = Module::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(module.kernels().count() > 0, "{} has no kernel", path.display());
        count += 1;
    }
    println!("{count} PTX files");
    assert!(count >= 50, "{count} files");
}
