//! The `cuda` device of ironwarp on this driver: what the driver API is asked for by a program that trains, held to what
//! the simulator does when it is asked directly.

use std::process::Command;

use half::bf16;
use ironwarp::data;
use ironwarp::device::{DType, Device, DeviceKind, Launch, SimOptions, Target};
use ironwarp::kernel;
use ironwarp::nn;
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::{Epilogue, Problem, candidates, matmul_by};
use ironwarp::train::{Adam, Control, Event, Trainer};

/// The variable that names the driver to ironwarp.
const LIBRARY: &str = "IRONWARP_LIBCUDA";

/// Runs `body` in a process of its own whose driver is this one, with more variables; `test` is the test that calls this.
/// What the process wrote to stderr.
fn on_driver(test: &str, variables: &[(&str, &str)], body: impl FnOnce(Device)) -> Option<String> {
    if std::env::var_os(LIBRARY).is_some() {
        body(Device::cuda(0).expect("the driver is this one"));
        return None;
    }
    let program = std::env::current_exe().expect("a test program has a path");
    let library = program.with_file_name("libptx_sim_driver.so");
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(LIBRARY, library)
        .envs(variables.iter().copied())
        .output()
        .expect("the test program starts again");
    let [text, errors] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success() && text.contains("1 passed"), "{test}:\n{text}\n{errors}");
    Some(errors)
}

fn simulator(target: Target) -> Device {
    Device::sim_with(SimOptions { target, ..SimOptions::default() })
}

/// A little noise that repeats.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed;
    let next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// The mean loss of every epoch, and what the model says of rows it has not seen.
fn trained(device: &Device) -> (Vec<f64>, Vec<f32>) {
    let mut losses = vec![];
    let iris =
        data::builtin("iris").expect("built in").standardized().stratified_split(0.8, 7).expect("splits");
    let net = nn::mlp(4, [12, 7], Activation::Gelu, 3).dropout(0.2);
    let model = Trainer::new(net)
        .optimizer(Adam::new(1e-2))
        .epochs(4)
        .batch(32)
        .observer(|event| {
            if let Event::Epoch(record) = event {
                losses.push(record.train_loss);
            }
            Control::Continue
        })
        .fit(device, &iris.train)
        .expect("trains");
    (losses, model.predict(&iris.test).expect("predicts").outputs)
}

#[test]
fn training_gives_the_simulators_bits() {
    on_driver("training_gives_the_simulators_bits", &[], |device| {
        assert_eq!((device.kind(), device.model().name.as_str()), (DeviceKind::Cuda(0), "ptx-sim 9.0"));
        let (cuda, sim) = (trained(&device), trained(&simulator(Target::Sm90a)));
        assert!(cuda.0.len() == 4 && cuda.0[3] < cuda.0[0], "{:?}", cuda.0);
        assert_eq!(cuda, sim);
    });
}

#[test]
fn another_order_of_blocks_gives_the_same_bits() {
    let shuffled = [("PTX_SIM_SEED", "77"), ("PTX_SIM_GPU", "A100")];
    on_driver("another_order_of_blocks_gives_the_same_bits", &shuffled, |device| {
        assert_eq!((device.model().name.as_str(), device.target()), ("ptx-sim 8.0", Target::Sm80));
        assert_eq!(trained(&device), trained(&simulator(Target::Sm80)));
    });
}

/// C of every candidate for a product of bf16 that Hopper's kernels read by tensor maps.
fn products(device: &Device) -> Vec<Vec<f32>> {
    let (m, n, k) = (130, 264, 200);
    let p = Problem::new(m, n, k).operands(DType::Bf16, DType::Bf16, DType::F32);
    let half = |x: Vec<f32>| x.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let a = device.buffer(&half(noise(m * k, 3))).expect("fits");
    let b = device.buffer(&half(noise(k * n, 4))).expect("fits");
    let of = |c: &_| {
        let mut out = device.alloc::<f32>(m * n).expect("fits");
        matmul_by(c, device, &p, &a, &b, &mut out, Epilogue::default()).expect("runs");
        out.to_vec().expect("runs")
    };
    candidates(device.target()).filter(|c| c.supports(&p, device.target()).is_ok()).map(of).collect()
}

#[test]
fn products_by_tensor_maps_give_the_simulators_bits() {
    on_driver("products_by_tensor_maps_give_the_simulators_bits", &[], |device| {
        let (cuda, sim) = (products(&device), products(&simulator(Target::Sm90a)));
        assert!(cuda.len() >= 4 && cuda[0].iter().any(|&x| x != 0.0), "{} candidates", cuda.len());
        assert_eq!(cuda, sim);
    });
}

#[test]
fn a_fault_names_its_kernel_and_says_where() {
    let name = "a_fault_names_its_kernel_and_says_where";
    let errors = on_driver(name, &[], |device| {
        let x = device.buffer(&noise(64, 5)).expect("fits");
        let mut y = device.buffer(&noise(64, 6)).expect("fits");
        // Past the end of both, where nobody wrote.
        let n = 4096;
        let launched = device.launch(kernel!(saxpy::saxpy), Launch::linear(n), (n, 2.0f32, &x, &mut y));
        let error = launched.and_then(|()| device.synchronize()).expect_err("it faults").to_string();
        assert!(error.contains("saxpy") && error.contains("CUDA_ERROR_LAUNCH_FAILED"), "{error}");
        drop((x, y));
        assert!(device.alloc::<f32>(1).is_err(), "the context is lost");
        drop(device);
        let device = Device::cuda(0).expect("opens again");
        let again = device.buffer(&[1.5f32, -2.0]).and_then(|b| b.to_vec()).expect("works again");
        assert_eq!(again, [1.5, -2.0]);
    });
    if let Some(errors) = errors {
        let finding =
            "read of uninitialised global memory in kernel `saxpy`, block (0, 0, 0), thread (64, 0, 0)";
        assert!(errors.contains(finding) && errors.contains("at PTX line"), "{errors}");
    }
}
