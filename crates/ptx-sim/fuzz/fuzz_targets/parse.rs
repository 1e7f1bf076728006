//! Any bytes: parsing never panics, and what parses prints to text that parses to the same tree.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use ptx_sim::Module;
use ptx_sim::parse::parse;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(ast) = parse(text) {
        let printed = ast.to_string();
        match parse(&printed) {
            Ok(again) => assert_eq!(ast, again, "printed as:\n{printed}"),
            Err(e) => panic!("{e}\nprinted as:\n{printed}"),
        }
    }
    let _ = Module::parse(text);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    ptx_sim_fuzz::mutate(data, size, max_size, seed)
});
