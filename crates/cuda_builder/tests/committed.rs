//! The PTX in the repository is of the kernel sources in the repository.

use cuda_builder::{CudaBuilder, NvvmArch, lock, lock::Lock};
use std::path::Path;

#[test]
fn committed_ptx_is_of_these_sources() {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gpu-kernels");
    let folder = kernels.join("ptx");
    let archs = [NvvmArch::SM_80, NvvmArch::SM_90A];
    let builder = CudaBuilder::new(&kernels).archs(archs).lock(&folder);
    assert!(builder.is_locked().unwrap(), "rebuild the PTX with: scripts/ptx-lock rebuild");

    let recorded = Lock::read(&folder).unwrap();
    assert!(recorded.rustc.contains("LLVM"), "{}", recorded.rustc);
    for arch in archs {
        let ptx = std::fs::read_to_string(lock::ptx_file(&folder, arch)).unwrap();
        assert!(ptx.lines().any(|line| line == format!(".target {arch}")), "{arch}");
        assert!(ptx.contains(".visible .entry saxpy("), "{arch}");
        // What only a path of somebody's machine or a panic would bring.
        for never in ["/home/", "/root/", "/work/", "panicking", ".extern .func"] {
            assert!(!ptx.contains(never), "{arch}: {never}");
        }
    }
}
