//! Builds the kernel where it changed; its PTX is kept under a lock, so that nobody else needs a compiler for it.
fn main() -> Result<(), cuda_builder::CudaBuilderError> {
    let ptx = cuda_builder::CudaBuilder::new("kernels").lock("kernels/ptx").build()?;
    println!("cargo::rustc-env=OWN_PTX={}", ptx.display());
    Ok(())
}
