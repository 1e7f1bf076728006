//! Compiles gpu-kernels to PTX, or takes the committed PTX while it is of the same sources, and tells the host crate
//! where it is: `include_str!(env!("IRONWARP_PTX_SM_80"))`.

use cuda_builder::{CudaBuilder, NvvmArch};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let built = CudaBuilder::new("gpu-kernels")
        .archs([NvvmArch::SM_80, NvvmArch::SM_90A])
        .lock("gpu-kernels/ptx")
        .build_all();
    match built {
        Ok(built) => {
            for ptx in built {
                let name = ptx.arch.target().to_uppercase();
                println!("cargo:rustc-env=IRONWARP_PTX_{name}={}", ptx.path.display());
            }
        }
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo:warning={line}");
            }
            std::process::exit(1);
        }
    }
}
