//! `ptx-lock [auto|check|rebuild] [CRATE [LOCK_FOLDER]]`: brings the committed PTX of a kernel crate up to date, or checks
//! it, outside of a build script. The targets are sm_80 and sm_90a. See `scripts/ptx-lock`.

use cuda_builder::{CudaBuilder, NvvmArch};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_else(|| "auto".into());
    let krate = args.next().unwrap_or_else(|| "gpu-kernels".into());
    let folder = args.next().map_or_else(|| PathBuf::from(&krate).join("ptx"), PathBuf::from);
    if args.next().is_some() || !["auto", "check", "rebuild"].contains(&mode.as_str()) {
        eprintln!("usage: ptx-lock [auto|check|rebuild] [CRATE [LOCK_FOLDER]]");
        return ExitCode::from(2);
    }
    // SAFETY: the program has one thread so far.
    unsafe { std::env::set_var("IRONWARP_PTX", &mode) };
    let builder = CudaBuilder::new(&krate).archs([NvvmArch::SM_80, NvvmArch::SM_90A]).lock(&folder);
    match builder.build_all() {
        Ok(built) => {
            for ptx in built {
                println!("{}", ptx.path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
