//! Compiles a kernel crate outside of a build script: `compile CRATE OUT.ptx [sm_80|sm_90a] [debug]`.

use cuda_builder::{CudaBuilder, NvvmArch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [krate, out, options @ ..] = args.as_slice() else {
        return Err("usage: compile CRATE OUT.ptx [sm_80|sm_90a] [debug]".into());
    };
    let mut builder = CudaBuilder::new(krate).copy_to(out);
    for option in options {
        builder = match option.as_str() {
            "debug" => builder.release(false),
            target => builder.arch(NvvmArch::from_target(target).ok_or("no such architecture")?),
        };
    }
    println!("{}", builder.build()?.display());
    Ok(())
}
