//! What `build` refuses before it looks for a compiler.

use cuda_builder::{CudaBuilder, CudaBuilderError};
use std::fs;

#[test]
fn a_path_without_a_crate_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no-kernels");
    let error = CudaBuilder::new(&missing).build().unwrap_err();
    assert!(matches!(&error, CudaBuilderError::CratePathDoesntExist(path) if *path == missing));
    assert!(error.to_string().contains("no-kernels"), "{error}");
}

#[test]
fn options_that_this_back_end_lacks_are_errors_that_say_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("Cargo.toml"), "[workspace]\n[package]\nname = \"k\"\n").unwrap();
    let builder = || CudaBuilder::new(folder.path());
    for (builder, text) in [
        (builder().ftz(true), "denormals"),
        (builder().optix(true), "CUDA kernels only"),
        (builder().nvptx_32(true), "64-bit"),
    ] {
        let error = builder.build().unwrap_err();
        assert!(
            matches!(error, CudaBuilderError::Unsupported(_)) && error.to_string().contains(text),
            "{error}"
        );
    }
}
