//! The kernels' PTX: checked against its lock, rebuilt when the kernels changed, and named to the host crate.

use cuda_builder::{Arch, CudaBuilder};

fn main() {
    let targets = [Arch::Sm80, Arch::Sm90a];
    let built = CudaBuilder::new("gpu-kernels").targets(targets).lock("gpu-kernels/ptx").build();
    let ptx = built.unwrap_or_else(|e| {
        eprintln!("error: {e}");
        std::process::exit(1)
    });
    for (arch, variable) in targets.into_iter().zip(["IRONWARP_PTX_SM_80", "IRONWARP_PTX_SM_90A"]) {
        if let Some(path) = ptx.path(arch) {
            println!("cargo::rustc-env={variable}={}", path.display());
        }
    }
}
