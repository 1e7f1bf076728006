//! Builds the kernel where it changed; its PTX is kept under a lock, so that nobody else needs a compiler for it.
fn main() -> Result<(), cuda_builder::BuildError> {
    let ptx = cuda_builder::CudaBuilder::new("kernels").lock("kernels/ptx").build()?;
    let path = ptx.path(cuda_builder::Arch::Sm80).expect("the target that was built");
    println!("cargo::rustc-env=OWN_PTX={}", path.display());
    Ok(())
}
