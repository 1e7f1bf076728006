//! The program `ptx-sim`, started as its users start it.

mod bad_input;
mod check;
mod launch;
mod lint;
mod profile;

use std::path::PathBuf;
use std::process::Command;

/// `y[i] += a * x[i]` for `i < n`; with a source line for every instruction. The store is on PTX line 20.
const SAXPY: &str = ".version 7.8
.target sm_80
.address_size 64
.file 1 \"src/saxpy.rs\"
.visible .entry saxpy(.param .u32 n, .param .f32 a, .param .u64 x, .param .u64 y)
{
.reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %d<8>; .reg .f32 %f<4>;
.loc 1 3 1
mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
mad.lo.u32 %r4, %r1, %r2, %r3;
ld.param.u32 %r5, [n]; ld.param.f32 %f0, [a];
setp.ge.u32 %p1, %r4, %r5;
@%p1 bra done;
.loc 1 4 1
ld.param.u64 %d0, [x]; ld.param.u64 %d1, [y];
mul.wide.u32 %d2, %r4, 4; add.s64 %d3, %d0, %d2; add.s64 %d4, %d1, %d2;
ld.global.f32 %f1, [%d3];
ld.global.f32 %f2, [%d4];
fma.rn.f32 %f3, %f0, %f1, %f2;
st.global.f32 [%d4], %f3;
done:
ret;
}
";

/// A folder of its own for each test.
struct Folder(tempfile::TempDir);

struct Output {
    code: i32,
    out: String,
    err: String,
}

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Files in the folder: none may be left over.
    fn files(&self) -> Vec<String> {
        let list = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = list.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs the program here, its arguments separated by blanks.
    fn run(&self, args: &str) -> Output {
        let o = Command::new(env!("CARGO_BIN_EXE_ptx-sim"))
            .args(args.split_whitespace())
            .current_dir(self.0.path())
            .env_remove("PTXAS")
            .env("PATH", "")
            .output()
            .unwrap();
        Output {
            code: o.status.code().expect("no signal"),
            out: String::from_utf8(o.stdout).unwrap(),
            err: String::from_utf8(o.stderr).unwrap(),
        }
    }

    /// Runs it and reads its JSON.
    fn json(&self, args: &str, code: i32) -> serde_json::Value {
        let o = self.run(args);
        assert_eq!(o.code, code, "{}{}", o.out, o.err);
        serde_json::from_str(&o.out).unwrap_or_else(|e| panic!("{e}: {}", o.out))
    }
}

/// A NumPy file, written as the format's description says.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// Header and elements of a NumPy file.
fn parts(file: &[u8]) -> (String, Vec<u8>) {
    let end = 10 + u16::from_le_bytes([file[8], file[9]]) as usize;
    (String::from_utf8(file[10..end].to_vec()).unwrap(), file[end..].to_vec())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Random floats between -1 and 1, other ones in every run of the tests.
fn random(n: usize) -> Vec<f32> {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    (0..n).map(|i| (state.hash_one(i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn bytes(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|x| x.to_le_bytes()).collect()
}
