//! The gate, the tuner on `sim` among wrong candidates, and the cache's file.

use super::*;
use crate::device::{DType, SimOptions, Target};
use crate::ops::matmul::{Addresses, Family, Precision, gemv, simt};

/// Problems too large for the oracle: what a gate of them sees.
fn large() -> Vec<Problem> {
    let half = |t| Problem::new(203, 181, 149).operands(t, t, t);
    let tf32 = Problem::new(203, 181, 149).precision(Precision::Tf32);
    let epilogue = Problem { alpha: -0.75, beta: 0.5, bias: true, extra: Extra::Residual, ..tf32 };
    let fp8 = Problem::new(203, 181, 149).operands(DType::E4m3, DType::E5m2, DType::F32);
    let mut out =
        vec![half(DType::Bf16), half(DType::F16), fp8, epilogue, Problem::new(101, 173, 83).batched(3)];
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        out.push(Problem::new(203, 181, 149).transposed(ta, tb));
    }
    // Rows further apart than they are long.
    out.push(Problem { lda: 160, ldb: 190, ldc: 191, stride_c: 0, ..Problem::new(203, 181, 149) });
    out
}

#[test]
fn the_gate_lets_right_results_pass_and_finds_wrong_elements() {
    let device = Device::cpu();
    for (index, p) in large().into_iter().enumerate() {
        let mut operands = Operands::new(&device, &p, 7 + index as u64).expect("operands");
        operands.run(None, 0).expect("a product");
        let right = operands.result().expect("a result");
        let gate = Gate::new(&operands);
        assert!(!gate.sees_all(), "{p}");
        assert_eq!(gate.check(&right), Ok(()), "{p}");
        let wrong = |what: &str, change: &dyn Fn(&mut [f32], usize)| {
            for draw in 0..4 {
                let z = operands::bits(3, draw) as usize % p.batch;
                let (i, j) =
                    (operands::bits(5, draw) as usize % p.m, operands::bits(9, draw) as usize % (p.n - 1));
                let mut got = right.clone();
                change(&mut got, z * p.stride_c + i * p.ldc + j);
                assert!(gate.check(&got).is_err(), "{what} at C[{z}][{i}, {j}] of {p}");
            }
        };
        // An element of f32 off by little; of 16 bits, or with the sums of 8-bit floats, by the size of its row's largest.
        let off = if p.c == DType::F32 && !p.precision.is_fp8() { 0.3 } else { 16.0 };
        wrong("an element off", &|c, at| c[at] += off);
        wrong("an element that was never written", &|c, at| c[at] = f32::NAN);
        wrong("an overflow", &|c, at| c[at] = f32::INFINITY);
        wrong("sums without their last term", &|c, at| c[at..].iter_mut().for_each(|x| *x *= 0.9));
    }
}

/// Sums are held against the oracle, and in large problems against C.
#[test]
fn the_gate_finds_wrong_sums() {
    let device = Device::cpu();
    let small = Problem::new(20, 30, 40).batched(2).operands(DType::F16, DType::F16, DType::F16);
    for reduce in [Reduce::Rows, Reduce::Columns] {
        for p in large().into_iter().chain([small]).map(|p| Problem { reduce, ..p }) {
            let mut operands = Operands::new(&device, &p, 5).expect("operands");
            operands.run(None, 0).expect("a product");
            let (c, right) = (operands.result().expect("a result"), operands.sums().expect("sums"));
            let gate = Gate::new(&operands);
            assert_eq!(gate.check(&c).and_then(|()| gate.check_sums(&c, &right)), Ok(()), "{p}");
            // Without a row, or a column, of ordinary size; unwritten; of another matrix.
            let off = if p.c == DType::Bf16 { 8.0 } else { 2.0 };
            for at in [0, right.len() / 2, right.len() - 1] {
                for wrong in [right[at] + off, f32::NAN, f32::INFINITY] {
                    let mut got = right.clone();
                    got[at] = wrong;
                    assert!(gate.check_sums(&c, &got).is_err(), "sum {at} of {p} is {wrong}");
                }
            }
        }
    }
}

#[test]
fn a_curved_epilogue_is_held_against_the_oracle_in_places() {
    let device = Device::cpu();
    let p = Problem { activation: Activation::Gelu, bias: true, ..Problem::new(203, 181, 149) };
    let mut operands = Operands::new(&device, &p, 3).expect("operands");
    operands.run(None, 0).expect("a product");
    let right = operands.result().expect("a result");
    let gate = Gate::new(&operands);
    assert_eq!(gate.check(&right), Ok(()));
    for at in [0, p.n - 1, (p.m - 1) * p.ldc, p.m * p.n - 1] {
        let mut got = right.clone();
        got[at] += 0.01;
        assert!(gate.check(&got).is_err(), "element {at}");
    }
    // Another activation is wrong nearly everywhere.
    let relu: Vec<f32> = right.iter().map(|x| x.max(0.0)).collect();
    assert!(gate.check(&relu).is_err());
}

/// The right kernel.
static RIGHT: &Candidate = &simt::CANDIDATES[2];

/// A candidate that runs the right kernel in a wrong way.
fn wrong(
    name: &'static str,
    run: fn(&Candidate, &Device, &Problem, Addresses, u64) -> Result<(), MatmulError>,
) -> Candidate {
    Candidate { name, family: Family { run, ..RIGHT.family }, ..*RIGHT }
}

#[test]
fn candidates_that_are_wrong_fail_or_do_not_do_it_are_out_and_kept() {
    let device = Device::sim_with(SimOptions { profile: true, ..SimOptions::default() });
    let right = RIGHT.family.run;
    assert_eq!(RIGHT.tile, [32, 32, simt::CANDIDATES[2].tile[2]]);
    fn run(d: &Device, p: &Problem, at: Addresses) -> Result<(), MatmulError> {
        (RIGHT.family.run)(RIGHT, d, p, at, 0)
    }
    let all = [
        wrong("short", |_, d, p, at, _| run(d, &Problem { m: p.m - 1, ..*p }, at)),
        wrong("cut", |_, d, p, at, _| run(d, &Problem { k: p.k - 1, ..*p }, at)),
        wrong("scaled", |_, d, p, at, _| run(d, &Problem { alpha: p.alpha * 1.001, ..*p }, at)),
        wrong("outside", |_, d, p, at, _| run(d, p, Addresses { c: at.c + 64, ..at })),
        wrong("nothing", |_, _, _, _, _| Ok(())),
        Candidate { name: "right", family: Family { run: right, ..RIGHT.family }, ..*RIGHT },
        Candidate { name: "refuses", family: Family { targets: &[], ..RIGHT.family }, ..*RIGHT },
        Candidate { name: "another precision", precision: Precision::Tf32, ..*RIGHT },
    ];
    let problem = Problem::new(35, 37, 41).transposed(true, false);
    let tuned = tune_among(&device, &problem, &all).expect("a tuning");
    assert_eq!((tuned.basis, tuned.device.as_str()), (Basis::Estimated, "sim (8.0)"));
    let names: Vec<&str> = tuned.kernels.iter().map(|k| k.0).collect();
    assert_eq!(names, ["short", "cut", "scaled", "outside", "nothing", "right", "refuses"]);
    for (name, verdict) in &tuned.kernels {
        match (*name, verdict) {
            ("right", Verdict::Time(seconds)) => assert!(*seconds > 0.0 && *seconds < 1.0, "{seconds}"),
            ("outside", Verdict::Rejected(reason)) => assert!(reason.contains("out-of-bounds"), "{reason}"),
            ("refuses", Verdict::Rejected(reason)) => assert!(reason.contains("Sm80"), "{reason}"),
            (_, Verdict::Rejected(reason)) => assert!(reason.contains("35x37x41"), "{name}: {reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(tuned.fastest().map(|f| f.0), Some("right"));
    let entry = tuned.entry();
    assert_eq!((entry.us.len(), entry.rejected.len(), entry.basis.as_str()), (1, 6, "estimated"));
}

#[test]
fn the_tuner_on_sim_judges_every_kernel_and_refuses_what_takes_too_long() {
    let profiled = Device::sim_with(SimOptions { profile: true, ..SimOptions::default() });
    let problem = Problem { bias: true, activation: Activation::Relu, ..Problem::new(40, 50, 30) };
    let tuned = tune(&profiled, &problem).expect("a tuning");
    let least = tuned.fastest().expect("a fastest");
    for (name, verdict) in &tuned.kernels {
        match verdict {
            Verdict::Time(time) => assert!(*time >= least.1, "{name}"),
            Verdict::Rejected(reason) => {
                assert!(name.starts_with("gemv") && reason.contains("M or N"), "{reason}")
            }
        }
    }
    assert_eq!(tuned.kernels.len(), 1 + simt::CANDIDATES.len());
    // Without profiles the heuristic orders them, as it does where nothing was tuned.
    let plain = tune(&Device::sim(), &problem).expect("a tuning");
    let heuristic = crate::ops::matmul::choose(&problem, Target::Sm80).expect("a candidate").name;
    assert_eq!((plain.basis, plain.fastest().map(|f| f.0)), (Basis::Heuristic, Some(heuristic)));

    assert!(matches!(tune(&profiled, &Problem::new(4096, 4096, 4096)), Err(TuneError::TooLarge { .. })));
    assert!(matches!(tune(&Device::cpu(), &problem), Err(TuneError::NoCandidates)));
    let most = (1 << 31) - 1;
    let overflow = tune(&profiled, &Problem::new(most, most, most));
    assert!(matches!(overflow, Err(TuneError::Matmul(MatmulError::Overflow { .. }))), "{overflow:?}");
}

fn entry(us: &[(&str, f64)]) -> Entry {
    let us = us.iter().map(|(name, us)| ((*name).to_owned(), *us)).collect();
    Entry { basis: "measured".into(), us, rejected: BTreeMap::from([("bad".into(), "it \"lies\"\n".into())]) }
}

#[test]
fn the_fastest_known_kernel_is_chosen_else_the_heuristics() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("deep/er/tuning.json");
    let device = Device::sim();
    let problem = Problem::new(512, 512, 64);
    let by = |problem: &Problem| {
        let cache = Cache::load(&path).expect("a cache");
        choose_by(&cache, &device, problem).expect("a candidate").name
    };
    let heuristic = |problem: &Problem| crate::ops::matmul::choose(problem, Target::Sm80).expect("one").name;
    assert_eq!(by(&problem), heuristic(&problem));
    // The slowest by the heuristic is the fastest here; a kernel that does not exist is faster still.
    let slow =
        simt::CANDIDATES.iter().map(|c| c.name).find(|name| *name != heuristic(&problem)).expect("another");
    let times = entry(&[("gone_in_this_version", 0.1), (slow, 5.0), (heuristic(&problem), 7.0)]);
    Cache::add(&path, &device_key(&device), BTreeMap::from([(problem_key(&problem), times.clone())]))
        .expect("added");
    assert_eq!(by(&problem), slow);
    assert_eq!(Cache::load(&path).expect("a cache").entry("sim (8.0)", &problem_key(&problem)), Some(&times));
    // Alpha, and which activation, change no kernel's work; a bias and a transposed operand do.
    let relu = Problem { activation: Activation::Relu, ..problem };
    assert_eq!(by(&Problem { alpha: 2.0, ..problem }), slow);
    assert_eq!(problem_key(&relu), problem_key(&Problem { activation: Activation::Gelu, ..problem }));
    for other in [
        relu,
        Problem { bias: true, ..problem },
        problem.transposed(true, false),
        problem.batched(2),
        Problem { align: 4, ..problem },
        Problem { precision: Precision::Tf32, reduce: Reduce::Rows, ..problem },
    ] {
        assert_ne!(problem_key(&other), problem_key(&problem));
        assert_eq!(by(&other), heuristic(&other));
    }
    // A kernel that is in the file, and refuses the problem all the same, is passed over.
    let names = gemv::CANDIDATES.iter().map(|c| (c.name, 1.0)).collect::<Vec<_>>();
    let residual = Problem { beta: 1.0, extra: Extra::Residual, ..problem };
    Cache::add(&path, "sim (8.0)", BTreeMap::from([(problem_key(&residual), entry(&names))])).expect("added");
    let (tuned, plain) = (
        choose_by(&Cache::load(&path).expect("a cache"), &device, &residual).map(|c| c.name).ok(),
        crate::ops::matmul::choose(&residual, Target::Sm80).map(|c| c.name).ok(),
    );
    assert!(plain.is_some() && tuned == plain, "{tuned:?}, {plain:?}");
}

#[test]
fn damaged_and_newer_files_are_one_error_and_stay_as_they_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tuning.json");
    let whole = {
        Cache::add(&path, "gpu", BTreeMap::from([("p".into(), entry(&[("k", 1.0)]))])).expect("added");
        std::fs::read_to_string(&path).expect("a file")
    };
    let cases = [
        (String::new(), "damaged"),
        (whole[..whole.len() / 2].into(), "damaged"),
        ("\u{0}\u{1}".into(), "damaged"),
        ("[]".into(), "format"),
        (whole.replace("ironwarp-tuning", "other"), "format"),
        (whole.replace("\"version\": 1", "\"version\": \"x\""), "version"),
        (whole.replace("\"version\": 1", "\"version\": 0"), "version"),
        (whole.replace("\"us\"", "\"ms\""), "us"),
        (whole.replace("\"version\": 1", "\"version\": 2"), "version 2"),
    ];
    for (text, part) in cases {
        std::fs::write(&path, &text).expect("written");
        let read = Cache::load(&path).expect_err("an error");
        let written = Cache::add(&path, "gpu", BTreeMap::new()).expect_err("an error");
        assert_eq!(read, written);
        let message = read.to_string();
        assert!(message.contains(part) && message.contains("tuning.json"), "{message}");
        assert!(message.contains(cache::VARIABLE) && message.lines().count() == 1, "{message}");
        assert_eq!(matches!(read, CacheError::Newer { .. }), part == "version 2", "{message}");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
    }
    let folder = Cache::load(dir.path()).expect_err("a directory is no file");
    assert!(matches!(folder, CacheError::Io { .. }));
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tuning.json");
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let path = &path;
            scope.spawn(move || {
                for n in 0..6 {
                    let entries = BTreeMap::from([(format!("{writer}-{n}"), entry(&[("k", f64::from(n))]))]);
                    Cache::add(path, &format!("gpu {}", n % 2), entries).expect("added");
                }
            });
        }
    });
    let cache = Cache::load(&path).expect("a whole file");
    assert_eq!(cache.len(), 36);
    for (writer, n) in (0..6).flat_map(|w| (0..6).map(move |n| (w, n))) {
        let there = cache.entry(&format!("gpu {}", n % 2), &format!("{writer}-{n}")).expect("an entry");
        assert_eq!(there.us["k"], f64::from(n));
    }
    // Nothing else is left beside it but the lock.
    let names = std::fs::read_dir(dir.path())
        .expect("a directory")
        .filter_map(|e| e.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert_eq!(names, ["tuning.json", "tuning.json.lock"]);
}
