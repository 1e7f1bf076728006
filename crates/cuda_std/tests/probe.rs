//! Compiles the kernels of `tests/probe`, which use everything the device API has, and looks at the PTX. With a `ptxas` on
//! the PATH (or named by `IRONWARP_PTXAS`) it is assembled too. Where no compiler for PTX is installed, what is tested is
//! that the builder says how to get one.

use cuda_builder::{CudaBuilder, CudaBuilderError, NvvmArch, Toolchain};
use ptx_sim::{Arg, LaunchConfig, Module, Sim};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The probe's PTX and its file; `None` without a compiler.
fn compile(builder: impl FnOnce(CudaBuilder) -> CudaBuilder) -> Option<(String, PathBuf)> {
    match Toolchain::find() {
        Ok(_) => {}
        Err(error @ CudaBuilderError::NoCompiler { .. }) => {
            let text = error.to_string();
            assert!(text.contains("To install one, run:  "), "{text}");
            return None;
        }
        Err(error) => panic!("{error}"),
    }
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe");
    let path = match builder(CudaBuilder::new(probe).arch(NvvmArch::SM_80)).build() {
        Ok(path) => path,
        Err(error) => panic!("{error}"),
    };
    Some((std::fs::read_to_string(&path).unwrap(), path))
}

/// The text of one kernel, header and body.
fn entry<'a>(ptx: &'a str, name: &str) -> &'a str {
    let start = ptx.find(&format!(".visible .entry {name}(")).unwrap_or_else(|| panic!("no kernel {name}"));
    let text = &ptx[start..];
    &text[..text.find("\n}").expect("a kernel's end")]
}

fn assemble(path: &Path) {
    let ptxas = std::env::var_os("IRONWARP_PTXAS").unwrap_or_else(|| "ptxas".into());
    let cubin = path.with_extension("cubin");
    // Not installed: nothing to assemble with.
    let Ok(out) = Command::new(ptxas).args(["-O1", "-arch=sm_80", "-o"]).arg(cubin).arg(path).output() else {
        return;
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_whole_device_api_compiles() {
    let Some((ptx, path)) = compile(|builder| builder) else { return };
    let thread = entry(&ptx, "probe_thread");
    for instruction in
        ["bar.red.popc.u32", "membar.gl", "membar.sys", "nanosleep.u32", "%laneid", "%clock64", "pmevent 3"]
    {
        assert!(thread.contains(instruction), "{instruction} in {thread}");
    }
    let shared = entry(&ptx, "probe_shared");
    assert!(shared.contains("\n.maxntid 64, 1, 1\n.minnctapersm 2\n{"), "{shared}");
    for array in ["all_shared_0_256[256]", "all_shared_1_64[64]"] {
        let declaration = format!(".shared .align 16 .b8 {};", array.replace("all_", "probe_"));
        assert_eq!(ptx.matches(&declaration).count(), 1, "{declaration}");
    }
    assert_eq!(ptx.matches(".extern .shared .align 128 .b8 cuda_std_dynamic_shared[];").count(), 1);
    let atomic = entry(&ptx, "probe_atomic");
    for instruction in [
        "atom.relaxed.gpu.add.f32",
        "atom.acq_rel.cta.xor.b64",
        "fence.sc.gpu",
        "atom.acq_rel.gpu.cas.b32",
        "atom.relaxed.gpu.max.s64",
        "ld.acquire.gpu.u32",
        "st.release.gpu.u32",
        "fence.acq_rel.sys",
    ] {
        assert!(atomic.contains(instruction), "{instruction} in {atomic}");
    }
    // These kernels cannot panic, and keep nothing in local memory.
    for name in ["probe_shared", "probe_ptx", "probe_atomic", "saxpy"] {
        let text = entry(&ptx, name);
        assert!(!text.contains("call") && !text.contains(".local"), "{name}: {text}");
    }
    // A call of anything but CUDA's own functions would not load.
    let mut externals: Vec<_> = ptx.lines().filter(|line| line.starts_with(".extern .func")).collect();
    externals.retain(|line| !line.ends_with(" vprintf") && !line.ends_with(" __assertfail"));
    assert!(externals.is_empty(), "{externals:?}");
    assert!(!ptx.contains("cuda_std."), "a record for the builder is left");
    assemble(&path);
}

#[test]
fn debug_builds_report_failures_with_kernel_and_line() {
    let compiled = compile(|builder| builder.release(false).build_args(&["--no-default-features"]));
    let Some((ptx, path)) = compiled else { return };
    // Each kernel stores its name, and the reporter passes it on.
    let text = entry(&ptx, "probe_checks");
    assert!(text.contains("st.shared.u64 [cuda_std_kernel_name]"), "{text}");
    assert!(ptx.contains("ld.shared.u64") && ptx.contains(".extern .func __assertfail"));
    let bytes = |text: &str| text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    // (A constant's last zeros are not printed.)
    for constant in ["probe_checks", "src/lib.rs", "n is five"] {
        assert!(ptx.contains(&bytes(constant)), "{constant:?} is not in the PTX");
    }
    // Bounds and overflow checks are there, and lines for faults.
    assert!(ptx.contains("panic_bounds_check") && ptx.contains("panic_const_add_overflow"));
    assert!(ptx.contains(".loc") && ptx.contains("\n.target sm_80\n"));
    assemble(&path);
    failures_reach_the_host(&ptx);
}

/// Runs the kernel so that an assertion, a bounds check and an overflow check fail, and reads what the host is told.
fn failures_reach_the_host(ptx: &str) {
    let module = Module::parse(ptx).unwrap();
    let one = LaunchConfig::new([1, 1, 1], [1, 1, 1]);
    for (n, what, line) in
        [(5u64, "n is five", 13), (257, "index out of bounds", 14), (6, "attempt to add with overflow", 14)]
    {
        let mut sim = Sim::builder().build();
        let x = sim.alloc(32);
        let error =
            sim.launch(&module, "probe_checks", &one, &[Arg::U64(n), Arg::U64(x)]).unwrap_err().to_string();
        for part in ["probe_checks", what, &format!("src/lib.rs:{line}")] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    }
    let mut sim = Sim::builder().build();
    let x = sim.alloc(32);
    sim.launch(&module, "probe_checks", &one, &[Arg::U64(2), Arg::U64(x)]).unwrap();
    let mut element = [0; 4];
    sim.read(x + 8, &mut element).unwrap();
    assert_eq!(f32::from_le_bytes(element), 252.0);
}
