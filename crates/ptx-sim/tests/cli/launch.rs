//! `run` and `list`: values and files go in, files come out, and nothing is left half written.

use super::*;

#[test]
fn a_kernel_from_files_to_files() {
    let f = Folder::new();
    let (n, a) = (500, 1.5f32);
    let (x, y) = (random(n), random(n));
    f.write("k.ptx", SAXPY);
    f.write("x.npy", npy("<f4", "(500,)", &bytes(&x)));
    f.write("y.npy", npy("<f4", "(20, 25)", &bytes(&y)));
    let o = f.run(
        "run k.ptx --kernel saxpy --grid 4,1,1 --block 128,1,1 --arg u32=500 --arg f32=1.5 --arg in=x.npy \
         --arg inout=y.npy:z.npy",
    );
    assert_eq!((o.code, o.err.as_str()), (0, ""), "{}", o.out);
    assert!(o.out.contains("ran `saxpy`: grid 4x1x1, block 128x1x1") && o.out.contains("wrote z.npy: 20x25"));
    let (header, data) = parts(&f.read("z.npy"));
    assert!(header.contains("'<f4'") && header.contains("(20, 25)"), "{header}");
    let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| a.mul_add(*x, *y)).collect();
    assert_eq!(floats(&data), want);
    // `y.npy` is as it was; now it is replaced.
    assert_eq!(parts(&f.read("y.npy")).1, bytes(&y));
    let v = f.json(
        "run k.ptx --grid 4 --block 128 --seed 9 --json --arg u32=500 --arg f32=1.5 --arg in=x.npy --arg inout=y.npy",
        0,
    );
    assert_eq!(
        (&v["clean"], &v["kernel"], &v["outputs"][0]["shape"]),
        (&true.into(), &"saxpy".into(), &serde_json::json!([20, 25]))
    );
    assert!(v["statistics"]["warp_instructions"].as_u64() > Some(16 * 10));
    assert_eq!(floats(&parts(&f.read("y.npy")).1), want);
    assert_eq!(f.files(), ["k.ptx", "x.npy", "y.npy", "z.npy"]);
}

/// Copies parameters of every type to `out`, 8 bytes each.
#[test]
fn every_type_of_argument() {
    let cases = [
        ("u8", "200", 200u64),
        ("s8", "-100", 0x9c),
        ("u16", "65535", 0xffff),
        ("s16", "-2", 0xfffe),
        ("u32", "0xdeadbeef", 0xdead_beef),
        ("s32", "-2147483648", 0x8000_0000),
        ("u64", "18446744073709551615", u64::MAX),
        ("s64", "-1", u64::MAX),
        ("b8", "0xff", 0xff),
        ("b16", "-1", 0xffff),
        ("b32", "7", 7),
        ("b64", "0x8000000000000000", 1 << 63),
        ("f16", "1.5", 0x3e00),
        ("bf16", "-2", 0xc000),
        ("f32", "-0.1", (-0.1f32).to_bits() as u64),
        ("f64", "1e300", 1e300f64.to_bits()),
    ];
    let bytes_of = |ty: &str| ty.trim_start_matches(|c: char| c.is_alphabetic()).parse::<u32>().unwrap() / 8;
    let mut ptx = ".version 7.8\n.target sm_80\n.visible .entry k(.param .u64 out".to_string();
    for (i, (ty, ..)) in cases.iter().enumerate() {
        // bfloat16 has no parameter type of its own.
        ptx += &format!(", .param .{} p{i}", if ty.ends_with("f16") { "b16" } else { ty });
    }
    ptx += ", .param .align 4 .b8 q[6])\n{\n.reg .b64 %d<4>;\nld.param.u64 %d0, [out];\n";
    for (i, (ty, ..)) in cases.iter().enumerate() {
        ptx += &format!("ld.param.u{} %d1, [p{i}]; st.global.u64 [%d0+{}], %d1;\n", 8 * bytes_of(ty), 8 * i);
    }
    ptx += "ld.param.u32 %d1, [q]; ld.param.u16 %d2, [q+4]; shl.b64 %d2, %d2, 32; or.b64 %d1, %d1, %d2; st.global.u64 [%d0+128], %d1;\nret;\n}\n";
    let f = Folder::new();
    f.write("k.ptx", ptx);
    let mut args = "run k.ptx --block 1 --arg out=o.npy:u64:17".to_string();
    for (ty, value, _) in cases {
        args += &format!(" --arg {ty}={value}");
    }
    let o = f.run(&(args + " --arg bytes=0102030405ff"));
    assert_eq!(o.code, 0, "{}{}", o.out, o.err);
    let (header, data) = parts(&f.read("o.npy"));
    assert!(header.contains("'<u8'") && header.contains("(17,)"), "{header}");
    let got: Vec<u64> = data.chunks(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect();
    let want: Vec<u64> = cases.iter().map(|c| c.2).chain([0xff05_0403_0201]).collect();
    assert_eq!(got, want);
}

#[test]
fn byte_orders_axis_orders_and_shapes_of_existing_files() {
    let f = Folder::new();
    f.write("k.ptx", SAXPY);
    let x = random(6);
    // Big-endian, in Fortran order: element (i, j) of 2 x 3 lies at 2 * j + i.
    let swapped: Vec<u8> = [0, 3, 1, 4, 2, 5].iter().flat_map(|&i: &usize| x[i].to_be_bytes()).collect();
    let text = String::from_utf8_lossy(&npy(">f4", "(2, 3)", &[])).replace("False", "True ");
    assert!(text.contains("True"));
    let mut file = npy(">f4", "(2, 3)", &swapped);
    let at = file.windows(5).position(|w| w == b"False").unwrap();
    file[at..at + 5].copy_from_slice(b"True ");
    f.write("x.npy", file);
    f.write("y.npy", npy("<f4", "(3, 2)", &bytes(&[0.0; 6])));
    let o = f.run("run k.ptx --block 6 --arg u32=6 --arg f32=1 --arg in=x.npy --arg inout=y.npy");
    assert_eq!(o.code, 0, "{}{}", o.out, o.err);
    assert_eq!(floats(&parts(&f.read("y.npy")).1), x);
    // `out` takes type and shape of the file and none of its contents: reading it finds nothing initialised.
    let o = f.run("check k.ptx --block 6 --arg u32=6 --arg f32=1 --arg in=x.npy --arg out=y.npy");
    assert_eq!(o.code, 1);
    assert!(o.out.contains("uninitialised global memory"), "{}", o.out);
}

#[test]
fn a_failed_run_writes_nothing() {
    let f = Folder::new();
    f.write("k.ptx", SAXPY);
    f.write("x.npy", npy("<f4", "(8,)", &bytes(&random(8))));
    let y = npy("<f4", "(8,)", &bytes(&random(8)));
    f.write("y.npy", &y);
    let args = "run k.ptx --block 16 --arg u32=9 --arg f32=1 --arg in=x.npy --arg inout=y.npy --arg-is-last";
    let o = f.run(args.trim_end_matches(" --arg-is-last"));
    assert_eq!((o.code, o.err.as_str()), (1, ""));
    assert!(o.out.starts_with("k.ptx:17:1: error: out-of-bounds access in kernel `saxpy`"), "{}", o.out);
    assert!(
        o.out.contains("buffer `x.npy` of 32 bytes") && o.out.contains("from src/saxpy.rs:4"),
        "{}",
        o.out
    );
    assert_eq!(f.read("y.npy"), y);
    assert_eq!(f.files(), ["k.ptx", "x.npy", "y.npy"]);
    // Writing to an `in` buffer is a fault, too.
    let o = f.run("run k.ptx --block 8 --arg u32=8 --arg f32=1 --arg in=x.npy --arg in=y.npy");
    assert_eq!(o.code, 1);
    assert!(o.out.contains("k.ptx:20:1: error: write to read-only memory"), "{}", o.out);
    let o =
        f.run("run k.ptx --block 8 --max-steps 5 --arg u32=8 --arg f32=1 --arg in=x.npy --arg inout=y.npy");
    assert_eq!(o.code, 1);
    assert!(o.out.contains("raise it with --max-steps"), "{}", o.out);
    assert_eq!(f.read("y.npy"), y);
    // A folder that is not there.
    let o = f.run("run k.ptx --block 8 --arg u32=8 --arg f32=1 --arg in=x.npy --arg inout=y.npy:no/z.npy");
    assert_eq!((o.code, o.err.lines().count()), (1, 1));
    assert!(o.err.starts_with("error: no/z.npy:1:1: cannot be written"), "{}", o.err);
}

#[test]
fn printf_and_required_blocks() {
    let f = Folder::new();
    f.write(
        "k.ptx",
        ".version 7.8\n.target sm_80\n.extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);\n\
         .global .align 1 .b8 text[9] = {116, 104, 114, 101, 97, 100, 115, 10, 0};\n\
         .visible .entry k() .reqntid 2, 1, 1\n{\n.reg .b64 %d<2>;\nmov.u64 %d0, text; cvta.global.u64 %d1, %d0;\n\
         { .param .b64 a; .param .b64 b; .param .b32 r; st.param.b64 [a], %d1; st.param.b64 [b], 0;\n\
         call.uni (r), vprintf, (a, b); }\nret;\n}\n",
    );
    let o = f.run("run k.ptx");
    assert_eq!((o.code, o.err.as_str()), (0, ""));
    assert!(o.out.starts_with("threads\nthreads\nran `k`: grid 1x1x1, block 2x1x1"), "{}", o.out);
}

#[test]
fn lists() {
    let f = Folder::new();
    f.write("k.ptx", format!("{SAXPY}.visible .entry two(.param .align 8 .b8 s[24]) .maxntid 64 {{ .shared .align 4 .b8 t[100]; ret; }}"));
    let o = f.run("list k.ptx");
    assert_eq!(o.code, 0);
    assert!(
        o.out.contains(
            "k.ptx:5: saxpy(u32 n, f32 a, u64 x, u64 y)\n    block any, 0 bytes of shared memory\n"
        ),
        "{}",
        o.out
    );
    assert!(o.out.contains("two(b8[24] s)\n    block at most 64x1x1, 100 bytes"), "{}", o.out);
    let v = f.json("list k.ptx --json", 0);
    assert_eq!(
        v["kernels"][0]["parameters"][1],
        serde_json::json!({"name": "a", "type": "f32", "bytes": 4, "align": 4})
    );
    assert_eq!(
        (&v["kernels"][1]["max_threads"][0], &v["kernels"][1]["shared_bytes"]),
        (&64.into(), &100.into())
    );
    for page in
        ["--help", "run --help", "check --help", "profile --help", "lint --help", "list --help", "--version"]
    {
        let o = f.run(page);
        assert_eq!((o.code, o.err.as_str()), (0, ""), "{page}");
        assert!(o.out.lines().count() >= 1);
    }
}
