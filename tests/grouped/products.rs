//! Grouped matrix products on random tables.

use ironwarp::device::{Buffer, Device, SimOptions};
use ironwarp::ops::Tolerance;
use ironwarp::ops::activation::Activation;
use ironwarp::ops::grouped::{Addend, Form, Product, Products, Schedule, Side, Step, slot};
use proptest::prelude::*;

use crate::bits;
use crate::common::{Rng, close, kernel_devices};

/// Rows of what A is a part of, where it begins at an offset.
const DATA: usize = 80;

/// One product with its operands.
#[derive(Clone, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    /// Live rows: of M, or of K.
    rows: usize,
    /// Where A begins, if it is shifted.
    offset: Option<usize>,
    activation: Activation,
    bias: bool,
    side: bool,
    /// Beta, and whether D is C.
    addend: Option<(f32, bool)>,
    seed: u64,
}

/// The operands on the host.
struct Operands {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    bias: Vec<f32>,
    side: Vec<f32>,
    d: Vec<f32>,
}

impl Case {
    fn draw(form: Form, rng: &mut Rng) -> Case {
        let mut dim = || match rng.below(4) {
            0 => 1 + rng.below(4) as usize,
            1 => [7, 13, 17, 31, 33, 61][rng.below(6) as usize],
            2 => [4, 8, 16, 32, 64][rng.below(5) as usize],
            _ => 1 + rng.below(70) as usize,
        };
        let (m, n, k) = (dim(), dim(), dim());
        let capacity = if form == Form::Weight { k } else { m };
        let rows = if rng.below(3) == 0 { rng.below(capacity as u64 + 1) as usize } else { capacity };
        Case {
            m,
            n,
            k,
            rows,
            offset: (form == Form::Forward && rng.below(3) == 0)
                .then(|| rng.below((DATA - rows) as u64 + 1) as usize),
            activation: Activation::ALL[rng.below(13) as usize],
            bias: form == Form::Forward && rng.below(2) == 0,
            side: form != Form::Weight && rng.below(2) == 0,
            addend: (rng.below(3) == 0).then(|| (rng.range(-2.0, 2.0), rng.below(2) == 0)),
            seed: rng.u64(),
        }
    }

    fn operands(&self) -> Operands {
        let mut rng = Rng(self.seed);
        let mut random = |n: usize| (0..n).map(|_| rng.range(-1.0, 1.0)).collect::<Vec<f32>>();
        let (m, n, k) = (self.m, self.n, self.k);
        let a = if self.offset.is_some() { DATA } else { m };
        Operands {
            a: random(a * k),
            b: random(n * k),
            c: random(m * n),
            bias: random(n),
            side: random(m * n),
            d: random(m * n),
        }
    }

    /// C and the tensor beside it afterwards, in f64, with the bound of an error.
    fn oracle(&self, form: Form, o: &Operands) -> (Vec<f64>, Vec<f64>, Tolerance) {
        let real = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let (mut c, mut side) = (real(&o.c), real(&o.side));
        let (m, k) = if form == Form::Weight { (self.m, self.rows) } else { (self.rows, self.k) };
        for i in 0..m {
            for j in 0..self.n {
                if k == 0 {
                    continue;
                }
                let at = i * self.n + j;
                let first = self.offset.unwrap_or(0);
                let term = |p: usize| {
                    let a = if form == Form::Weight {
                        o.a[p * self.m + i]
                    } else {
                        o.a[(first + i) * self.k + p]
                    };
                    let b = if form == Form::Forward { o.b[j * self.k + p] } else { o.b[p * self.n + j] };
                    f64::from(a) * f64::from(b)
                };
                let mut v: f64 = (0..k).map(term).sum();
                if let Some((beta, own)) = self.addend {
                    v += f64::from(beta) * f64::from(if own { o.c[at] } else { o.d[at] });
                }
                if form == Form::Forward {
                    if self.bias {
                        v += f64::from(o.bias[j]);
                    }
                    if self.side {
                        side[at] = v;
                    }
                    v = self.activation.apply(v);
                }
                if form == Form::Input && self.side {
                    v *= self.activation.derivative(side[at]);
                }
                c[at] = v;
            }
        }
        // A random walk of k roundings of partial sums of about sqrt(k), then D (at most 2) and the bias; activations and
        // their derivatives have slopes below 2, and derivatives an error of their own of a few roundings.
        (c, side, Tolerance::sum(2.0, self.k, 4.0 * (self.k as f64).sqrt() + 8.0))
    }
}

/// Computes all cases in one table; C and the tensor beside it of each.
fn run(device: &Device, form: Form, cases: &[Case], fill: usize) -> Vec<(Vec<f32>, Vec<f32>)> {
    let on = |v: &[f32]| device.buffer(v).expect("fits");
    let buffers: Vec<[Buffer<f32>; 6]> = cases
        .iter()
        .map(|case| {
            let o = case.operands();
            [on(&o.a), on(&o.b), on(&o.c), on(&o.bias), on(&o.side), on(&o.d)]
        })
        .collect();
    let mut schedule = Schedule::new(2, cases.len(), DATA);
    let mut products = vec![];
    for (at, (case, [a, b, c, bias, side, d])) in cases.iter().zip(&buffers).enumerate() {
        let step = Step { rows: case.rows, offset: case.offset.unwrap_or(0), step: 0, hyper: [0.0; 8] };
        schedule.set(1, at, &step).expect("inside the data");
        products.push(Product {
            a: slot(a),
            b: slot(b),
            c: slot(c),
            m: case.m,
            n: case.n,
            k: case.k,
            slot: at,
            shift: case.offset.is_some(),
            bias: case.bias.then(|| slot(bias)),
            activation: case.activation,
            side: case.side.then(|| match form {
                Form::Forward => Side::Store(slot(side)),
                _ => Side::Derivative(slot(side)),
            }),
            addend: case.addend.map(|(beta, own)| Addend { tensor: slot(if own { c } else { d }), beta }),
        });
    }
    let table = Products::bucketed(device, form, &products, fill).expect("a valid table");
    let live = schedule.upload(device).expect("fits");
    let before = device.stats().launches;
    // In the first step everybody rests.
    for at in [0, 1] {
        table.launch(device, live.at(at)).expect("no finding");
    }
    assert_eq!(device.stats().launches - before, 2 * table.launches() as u64);
    assert!(table.launches() <= 2);
    buffers
        .iter()
        .map(|[_, _, c, _, side, _]| (c.to_vec().expect("reads"), side.to_vec().expect("reads")))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20) })]

    #[test]
    fn random_tables_of_products_agree_with_the_oracle_and_with_each_product_alone(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let form = [Form::Forward, Form::Input, Form::Weight][rng.below(3) as usize];
        let cases: Vec<Case> = (0..1 + rng.below(5)).map(|_| Case::draw(form, &mut rng)).collect();
        let devices = kernel_devices(seed | 1);
        // Together on one simulator, alone on the other; both on the GPU where there is one.
        let simulators = (&devices[0], &devices[1]);
        for (first, second) in [simulators].into_iter().chain(devices.get(2).map(|gpu| (gpu, gpu))) {
            // Large products with the large tile together, with the small one alone.
            let together = run(first, form, &cases, 0);
            for (case, (c, side)) in cases.iter().zip(&together) {
                let (want, beside, tolerance) = case.oracle(form, &case.operands());
                for (got, want, what) in [(c, &want, "C"), (side, &beside, "beside C")] {
                    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
                        prop_assert!(close(g, w, tolerance), "{form:?} {case:?} {what}[{i}]: {g}, the oracle says {w}");
                    }
                }
                let alone = run(second, form, std::slice::from_ref(case), usize::MAX).remove(0);
                prop_assert_eq!(bits(c), bits(&alone.0), "{:?} {:?}: other bits alone", form, case);
                prop_assert_eq!(bits(side), bits(&alone.1), "{:?} {:?}: other bits alone", form, case);
            }
        }
    }
}

#[test]
fn tensors_too_small_and_epilogues_that_do_not_exist_are_refused() {
    let device = Device::sim();
    let x = device.buffer(&[1.0f32; 12]).expect("fits");
    let good = Product {
        a: slot(&x),
        b: slot(&x),
        c: slot(&x),
        m: 3,
        n: 4,
        k: 3,
        slot: 0,
        shift: false,
        bias: None,
        activation: Activation::Relu,
        side: None,
        addend: None,
    };
    assert!(Products::new(&device, Form::Input, &[good]).is_ok());
    let with = |change: fn(&mut Product)| {
        let mut p = good;
        change(&mut p);
        Products::new(&device, Form::Input, &[good, p]).expect_err("refused").to_string()
    };
    assert!(with(|p| p.k = 4).contains("B has 12 elements"), "{}", with(|p| p.k = 4));
    assert!(with(|p| p.m = 0).contains("extent of 0"));
    assert!(with(|p| p.bias = Some(p.a)).contains("bias"));
    assert!(with(|p| p.side = Some(Side::Store(p.a))).contains("Store"));
    assert!(with(|p| p.n = usize::MAX / 2).contains("at most"));
    let mut schedule = Schedule::new(1, 1, 10);
    let step = Step { rows: 4, offset: 7, step: 0, hyper: [0.0; 8] };
    assert!(schedule.set(0, 0, &step).expect_err("past the end").to_string().contains("of 10"));
}

/// Distinct and requested bytes that the first layers of `count` networks of `width` units read, of 64 rows of 64 features.
fn first_layers(count: usize, width: usize, shared: bool) -> (u64, u64) {
    let device = Device::sim_with(SimOptions { profile: true, ..SimOptions::default() });
    let (rows, features) = (64, 64);
    let mut rng = Rng(5);
    let mut random =
        |n: usize| device.buffer(&(0..n).map(|_| rng.range(-1.0, 1.0)).collect::<Vec<f32>>()).expect("fits");
    let inputs: Vec<_> = (0..if shared { 1 } else { count }).map(|_| random(rows * features)).collect();
    let weights: Vec<_> = (0..count).map(|_| random(width * features)).collect();
    let outputs: Vec<_> = (0..count).map(|_| random(rows * width)).collect();
    let products: Vec<Product> = (0..count)
        .map(|i| Product {
            a: slot(&inputs[if shared { 0 } else { i }]),
            b: slot(&weights[i]),
            c: slot(&outputs[i]),
            m: rows,
            n: width,
            k: features,
            slot: 0,
            shift: false,
            bias: None,
            activation: Activation::Relu,
            side: None,
            addend: None,
        })
        .collect();
    let table = Products::new(&device, Form::Forward, &products).expect("a valid table");
    let mut schedule = Schedule::new(1, 1, rows);
    schedule.set(0, 0, &Step { rows, offset: 0, step: 0, hyper: [0.0; 8] }).expect("inside");
    let live = schedule.upload(&device).expect("fits");
    table.launch(&device, live.at(0)).expect("no finding");
    let profiles = device.take_profiles();
    let sum = |f: fn(&ptx_sim::profile::Profile) -> u64| profiles.iter().map(f).sum();
    (sum(|p| p.global.footprint_loads), sum(|p| p.global.loads.sectors * 32))
}

#[test]
fn first_layers_that_share_a_minibatch_read_it_once_from_memory() {
    let (count, width) = (8, 32);
    let (wide, requested) = first_layers(count, width, true);
    let (separate, asked) = first_layers(count, width, false);
    println!("{count} first layers of {width}: shared {wide} B of memory, {requested} B requested;");
    println!("each with its own minibatch {separate} B of memory, {asked} B requested");
    let minibatch = 64 * 64 * 4;
    assert_eq!(separate - wide, (count as u64 - 1) * minibatch);
}
