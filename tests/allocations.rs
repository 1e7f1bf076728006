//! A training step on `cpu` allocates nothing. One test, in a program of its own: the pool's threads would count what other
//! tests allocate on them.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use common::Rng;
use ironwarp::device::Device;
use ironwarp::graph::{Executor, Plan, States, on_workers};
use ironwarp::nn;
use ironwarp::ops::TensorType;
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::Precision;
use ironwarp::train::{Loss, Options, step};

/// Counts allocations of the whole process.
struct Counting;
static COUNTED: AtomicU64 = AtomicU64::new(0);
// SAFETY: passes every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) }
    }
}
#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_training_step_on_cpu_allocates_nothing() {
    let (small, large) = ((vec![64, 64, 10], 64), (vec![784, 512, 512, 10], 128));
    let cases = [
        (small.clone(), Precision::Fp32, 40),
        (small.clone(), Precision::Bf16, 20),
        (small, Precision::F16, 20),
        (large.clone(), Precision::Fp32, 40),
        (large, Precision::F16, 10),
    ];
    for ((dims, batch), precision, steps) in cases {
        let (inputs, outputs, rows) = (dims[0], dims[dims.len() - 1], 2 * batch);
        let net = nn::mlp(inputs, &dims[1..dims.len() - 1], Activation::Relu, outputs);
        let device = Device::cpu();
        let states = States::new(&device);
        let mut rng = Rng(5);
        let x: Vec<f32> = (0..rows * inputs).map(|_| rng.range(-1.0, 1.0)).collect();
        let y: Vec<u32> = (0..rows).map(|_| rng.below(outputs as u64) as u32).collect();
        let order: Vec<u32> = (0..rows as u32).collect();
        states.write("train.x", &TensorType::f32([rows, inputs]), &x).expect("fits");
        states.write("train.y", &TensorType::u32([rows]), &y).expect("fits");
        states.write("train.order", &TensorType::u32([rows]), &order).expect("fits");
        let options = Options { clip_norm: Some(1.0), precision, ..Options::default() };
        let loss = Loss::CrossEntropy { smoothing: 0.1 };
        let graph = step::training_step(&net, &options, loss, rows, batch, true).expect("builds").fuse();
        let mut exec = Executor::new(&Plan::new(&graph).expect("plans"), &states).expect("binds");
        Executor::new(&Plan::new(&net.init_graph(1).expect("builds")).expect("plans"), &states)
            .expect("binds")
            .run()
            .expect("initialises");
        step::start_scaler(&states, &options).expect("fits");
        let (step, hyper) = (exec.input("step").expect("there"), exec.input("hyper").expect("there"));
        let before_device = device.stats().allocations;
        let counted = on_workers(|| {
            let mut counted = 0;
            for t in 1..=steps {
                let rates = options.optimizer.hyper(t, 1e-3);
                let before = COUNTED.load(Ordering::Relaxed);
                exec.write(hyper, &rates).expect("fits");
                exec.write(step, &[t as u32, 0, 0, 0]).expect("fits");
                exec.run().expect("runs");
                if t > 3 {
                    counted += COUNTED.load(Ordering::Relaxed) - before;
                }
            }
            counted
        });
        assert_eq!(counted, 0, "allocations in {} steps of {dims:?} in {precision}", steps - 3);
        assert_eq!(device.stats().allocations, before_device);
        let loss: Vec<f32> = exec.get("loss").expect("there");
        assert!(loss[0].is_finite() && loss[0] > 0.0);
    }
}
