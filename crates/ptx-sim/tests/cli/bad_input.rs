//! Bad usage and unreadable input: exit code 2, one line on stderr with file, line and column, nothing on stdout, no file.

use super::*;

/// The one line the program ends with.
fn refused(f: &Folder, args: &str) -> String {
    let before = f.files();
    let o = f.run(args);
    assert_eq!((o.code, o.out.as_str()), (2, ""), "{args}: {}{}", o.out, o.err);
    assert_eq!(o.err.lines().count(), 1, "{args}: {}", o.err);
    assert_eq!(f.files(), before, "{args}");
    o.err.strip_prefix("error: ").unwrap_or_else(|| panic!("{args}: {}", o.err)).trim_end().to_string()
}

fn folder() -> Folder {
    let f = Folder::new();
    f.write("k.ptx", SAXPY);
    f.write("two.ptx", format!("{SAXPY}.visible .entry other() {{ ret; }}"));
    f.write("x.npy", npy("<f4", "(8,)", &bytes(&random(8))));
    f
}

const ARGS: &str = "--arg u32=8 --arg f32=1 --arg in=x.npy --arg inout=x.npy";

#[test]
fn files() {
    let f = folder();
    f.write("broken.ptx", SAXPY.replace("fma.rn.f32 %f3,", "fma.rn.f32 %f3 %f4"));
    f.write("cut.ptx", &SAXPY[..300]);
    f.write("bytes.ptx", [b".version 7.0\n.tar", &[0xff, 0xfe][..]].concat());
    f.write("none.ptx", ".version 7.0\n.target sm_80\n");
    f.write("register.ptx", SAXPY.replace("%f3, %f0", "%f9, %f0"));
    f.write("text.npy", "1, 2, 3");
    f.write("short.npy", npy("<f4", "(9,)", &[0; 8]));
    f.write("complex.npy", npy("<c16", "(1,)", &[0; 16]));
    for command in ["run", "check", "profile"] {
        let launch = |file: &str| refused(&f, &format!("{command} {file} --block 8 {ARGS}"));
        assert!(launch("missing.ptx").starts_with("missing.ptx:1:1: cannot be read"));
        assert!(launch("broken.ptx").starts_with("broken.ptx:19:"), "{}", launch("broken.ptx"));
        assert!(launch("cut.ptx").starts_with("cut.ptx:"));
        assert_eq!(launch("bytes.ptx"), "bytes.ptx:2:5: not UTF-8 text");
        assert_eq!(launch("none.ptx"), "none.ptx:1:1: the file has no kernel");
        let npy = |name: &str| {
            refused(
                &f,
                &format!(
                    "{command} k.ptx --block 8 --arg u32=8 --arg f32=1 --arg in={name} --arg inout=x.npy"
                ),
            )
        };
        assert!(npy("missing.npy").starts_with("missing.npy:1:1: cannot be read"));
        assert!(npy("text.npy").starts_with("text.npy:1:1: no NumPy file"));
        assert!(npy("short.npy").starts_with("short.npy:1:129: 8 bytes of elements"), "{}", npy("short.npy"));
        assert!(npy("complex.npy").contains("complex.npy:1:11: elements of type '<c16'"));
    }
    assert!(refused(&f, "list missing.ptx").starts_with("missing.ptx:1:1:"));
    assert!(refused(&f, "list cut.ptx").starts_with("cut.ptx:"));
}

#[test]
fn kernels_and_arguments() {
    let f = folder();
    let launch = |args: &str| refused(&f, &format!("run {args}"));
    assert_eq!(
        launch(&format!("two.ptx --block 8 {ARGS}")),
        "two.ptx:1:1: several kernels, name one with --kernel: saxpy, other"
    );
    assert_eq!(
        launch(&format!("k.ptx --kernel axpy --block 8 {ARGS}")),
        "k.ptx:1:1: no kernel `axpy`; the file's kernels are saxpy"
    );
    assert_eq!(
        launch("k.ptx --block 8 --arg u32=8"),
        "k.ptx:5:1: kernel `saxpy` has 4 parameters (u32 f32 u64 u64), the command line 1 arguments"
    );
    // Each in place of the first argument, which is to be a u32, and of the third, which is to be a pointer.
    for (text, says) in [
        ("5", "an argument is TYPE=VALUE"),
        ("u32=", "`` is no integer"),
        ("u32=five", "`five` is no integer"),
        ("u32=1.5", "`1.5` is no integer"),
        ("u32=4294967296", "4294967296 is outside u32: 0 to 4294967295"),
        ("s32=-2147483649", "outside s32"),
        ("u32=-1", "outside u32"),
        ("int=5", "no type `int`"),
        ("f32=1", "4 bytes of f32 for parameter `n`, 4 bytes of u32"),
        ("u64=1", "8 bytes of u64 for parameter `n`, 4 bytes of u32"),
        ("bytes=123", "pairs of hexadecimal digits"),
        ("bytes=zz", "pairs of hexadecimal digits"),
        ("bytes=001122", "3 bytes of bytes for parameter `n`"),
        ("in=x.npy", "8 bytes of in for parameter `n`, 4 bytes of u32"),
    ] {
        let line =
            launch(&format!("k.ptx --block 8 --arg {text} --arg f32=1 --arg in=x.npy --arg inout=x.npy"));
        assert!(line.starts_with("k.ptx:5:1: argument 1 `") && line.contains(says), "{text}: {line}");
    }
    for (text, says) in [
        ("f64=1", "8 bytes of f64 for parameter `x`, 8 bytes of u64"),
        ("out=new.npy", "no such file"),
        ("out=new.npy:f32:axb", "`axb` is no shape"),
        ("out=new.npy:f32:99999999999x99999999999", "the shape is too large"),
    ] {
        let line = launch(&format!("k.ptx --block 8 --arg u32=8 --arg f32=1 --arg {text} --arg inout=x.npy"));
        assert!(line.starts_with("k.ptx:5:1: argument 3 `") && line.contains(says), "{text}: {line}");
    }
    let line = launch("k.ptx --block 8 --arg u32=8 --arg f32=x --arg in=x.npy --arg inout=x.npy");
    assert_eq!(line, "k.ptx:5:1: argument 2 `f32=x`: `x` is no number");
}

#[test]
fn sizes() {
    let f = folder();
    f.write("req.ptx", SAXPY.replace("x, .param .u64 y)", "x, .param .u64 y) .reqntid 64"));
    f.write("big.ptx", SAXPY.replacen(".visible", ".global .align 1 .b8 big[4000000000];\n.visible", 1));
    for (args, says) in [
        ("k.ptx", "k.ptx:5:1: --block is missing"),
        ("k.ptx --grid 0 --block 8", "k.ptx:5:1: bad launch configuration: a grid of 0x1x1"),
        ("k.ptx --grid 1,65536 --block 8", "k.ptx:5:1: bad launch configuration: a grid of 1x65536x1"),
        ("k.ptx --grid 4294967295 --block 8", "k.ptx:5:1: bad launch configuration: a grid of"),
        ("k.ptx --block 0", "k.ptx:5:1: bad launch configuration: a block of 0x1x1"),
        ("k.ptx --block 1025", "k.ptx:5:1: bad launch configuration: a block of 1025x1x1"),
        ("k.ptx --block 32,32,2", "k.ptx:5:1: bad launch configuration: a block of 32x32x2"),
        (
            "k.ptx --block 8 --shared 300000",
            "k.ptx:5:1: bad launch configuration: 300000 bytes of shared memory",
        ),
        ("k.ptx --grid 3 --cluster 2 --block 8", "k.ptx:5:1: bad launch configuration"),
        (
            "req.ptx --block 8",
            "req.ptx:5:1: bad launch configuration: the kernel requires blocks of [64, 1, 1]",
        ),
        (
            "k.ptx --block 8 --max-memory 60",
            "k.ptx:5:1: memory limit reached: 292 bytes of simulated memory on top of 0, the limit is 60; raise it with --max-memory",
        ),
        ("big.ptx --block 8 --max-memory 2G", "big.ptx:6:1: memory limit reached: 4500000256 bytes"),
    ] {
        let line = refused(&f, &format!("run {args} {ARGS}"));
        assert!(line.contains(says), "{args}: {line}");
    }
}

#[test]
fn usage() {
    let f = folder();
    for (args, says) in [
        ("", "a command is missing"),
        ("walk k.ptx", "unrecognized subcommand 'walk'"),
        ("run", "<FILE>"),
        ("run k.ptx --block 1,2,3,4", "at most three numbers"),
        ("run k.ptx --grid one --block 8", "`one` is no number"),
        ("run k.ptx --block 8 --shared -1", "-1"),
        ("run k.ptx --block 8 --max-memory 5T", "no number of bytes"),
        ("run k.ptx --frobnicate", "--frobnicate"),
        ("check k.ptx --block 8 --schedules 0", "0"),
        ("check k.ptx --block 8 --format xml", "xml"),
        (
            "check k.ptx --block 8 --disable everything",
            "no kind `everything` to disable; there are out-of-bounds, misaligned",
        ),
        ("profile k.ptx --block 8 --gpu V100", "there are A100, H100, H200, RTX 4090"),
    ] {
        let line = refused(&f, args);
        assert!(line.contains(says), "{args}: {line}");
    }
    let line = refused(&f, &format!("profile k.ptx --block 8 --ptxas /nowhere/ptxas {ARGS}"));
    assert!(line.starts_with("/nowhere/ptxas: cannot be started"), "{line}");
}
