//! The layer against a driver that is not there, and against one written in Rust (`fake.rs`).

use super::fake::{MEMORY, fake, refuse_pinning, with_fake_driver, with_library};
use super::*;

/// This module's path as the test program says it.
const HERE: &str = "device::cuda::tests::";

fn here(test: &str) -> String {
    format!("{HERE}{test}")
}

/// Bytes without a pattern that an error could repeat: a linear congruential generator's high bytes.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn download(context: &CudaContext, from: u64, bytes: usize) -> Vec<u8> {
    let mut data = vec![0xee; bytes];
    context.download(from, &mut data).expect("the range is live");
    data
}

fn fill(
    context: &CudaContext,
    module: &CudaModule,
    to: u64,
    count: u32,
    value: f32,
) -> Result<(), CudaError> {
    let args = [KernelArg::value(to), KernelArg::value(count), KernelArg::value(value)];
    // SAFETY: the fake driver's `fill(address, count, value)`; the tests pass a live block of `count` floats.
    unsafe { context.launch(module, "fill", [1, 1, 1], [128, 1, 1], 0, &args) }
}

fn fault(context: &CudaContext, module: &CudaModule, name: &str) {
    // SAFETY: these kernels have no parameters and touch no memory.
    unsafe { context.launch(module, name, [1, 1, 1], [32, 1, 1], 0, &[]) }.expect("a launch is asynchronous");
}

#[test]
fn without_a_driver_the_error_says_what_is_missing() {
    with_library("libironwarp-absent.so.1", &here("without_a_driver_the_error_says_what_is_missing"), || {
        let error = device_count().unwrap_err();
        assert!(error.is_unavailable());
        let text = error.to_string();
        for part in ["libironwarp-absent.so.1", "was not found", "install the NVIDIA driver", "--device cpu"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(CudaContext::new(0).map(|_| ()), Err(error.clone()));
        assert_eq!(CudaContext::describe(0).map(|_| ()), Err(error));
        // Every entry point answers, and cust's own functions with it.
        let refused = cust::quick_init().expect_err("no driver");
        assert_eq!(refused, cust::error::CudaError::UnknownError, "cust has no name for code 34");
        assert!(refused.to_string().contains("no NVIDIA driver is loaded"));
    });
}

#[test]
fn a_library_that_is_not_a_driver_is_refused() {
    with_library("libm.so.6", &here("a_library_that_is_not_a_driver_is_refused"), || {
        let error = device_count().unwrap_err();
        assert_eq!(error, CudaError::DriverUnusable(DriverCode::NOT_SUPPORTED));
        assert_eq!(
            loader::entry_point(c"cuNoSuchFunction").unwrap_err(),
            CudaError::Driver { call: "cuGetProcAddress", code: DriverCode::NOT_SUPPORTED }
        );
    });
}

#[test]
fn every_trampoline_passes_its_arguments_on() {
    // The lazy first call and the direct second one, with register and stack arguments; `fake` records them.
    with_fake_driver(&here("every_trampoline_passes_its_arguments_on"), || {
        let context = CudaContext::new(0).unwrap();
        let module = context.load_module("// good").unwrap();
        let block = context.alloc(4096).unwrap();
        for (i, grid) in [[3, 5, 7], [2, 4, 6]].into_iter().enumerate() {
            let args =
                [KernelArg::value(block), KernelArg::value(16u32), KernelArg::value(1.5f32 + i as f32)];
            // SAFETY: a live block of more than 16 floats.
            unsafe { context.launch(&module, "fill", grid, [8, 2, 4], 96, &args) }.unwrap();
        }
        let calls = fake().calls.clone();
        assert!(calls.contains(&"fill [3, 5, 7] [8, 2, 4] 96 true".to_owned()), "{calls:?}");
        assert!(calls.contains(&"fill [2, 4, 6] [8, 2, 4] 96 true".to_owned()), "{calls:?}");
        assert_eq!(download(&context, block, 64), 2.5f32.to_ne_bytes().repeat(16));
        assert!(trampolines::NAMES.len() > 300 && trampolines::NAMES.contains(&"cuMemcpyHtoDAsync_v2"));
    });
}

#[test]
fn uploads_survive_the_host_running_ahead() {
    with_fake_driver(&here("uploads_survive_the_host_running_ahead"), || {
        let context = CudaContext::new(0).unwrap();
        // Small ones, one larger than a segment, one larger than the ring.
        let sizes = [1, 63, 4096, 700_000, 3, 3 << 20, 65, 5 << 20, 10];
        let mut uploads = Vec::new();
        for (i, &bytes) in sizes.iter().enumerate() {
            let mut data = noise(i as u64, bytes);
            let block = context.alloc(bytes).unwrap();
            context.upload(block, &data).unwrap();
            uploads.push((block, data.clone()));
            data.fill(0);
        }
        for (block, data) in &uploads {
            assert!(download(&context, *block, data.len()) == *data, "{} bytes", data.len());
        }
        let pins = fake().calls.iter().filter(|call| *call == "cuMemHostRegister_v2").count();
        assert_eq!(pins, 1, "one ring for all uploads");
    });
}

#[test]
fn memory_is_checked_cached_and_given_back() {
    with_fake_driver(&here("memory_is_checked_cached_and_given_back"), || {
        let context = CudaContext::new(0).unwrap();
        let block = context.alloc(1000).unwrap();
        let other = context.alloc(1000).unwrap();
        let data = noise(1, 1000);
        context.upload(block, &data).unwrap();
        context.copy(other, block, 1000).unwrap();
        context.fill_u32(other + 8, 0x0102_0304, 2).unwrap();
        context.fill_u8(other + 999, 7, 1).unwrap();
        let mut expected = data.clone();
        expected[8..16].copy_from_slice(&0x0102_0304u32.to_ne_bytes().repeat(2));
        expected[999] = 7;
        assert_eq!(download(&context, other, 1000), expected);

        for refused in [
            context.upload(block + 1, &data),
            context.download(block, &mut [0; 1001]),
            context.copy(block, other, 1001),
            context.copy(block, block + 1, 10),
            context.fill_u32(block + 2, 0, 1),
            context.fill_u8(12, 0, 1),
            context.free(block + 8),
        ] {
            assert!(matches!(refused, Err(CudaError::BadRange { .. })), "{refused:?}");
        }
        // Freed twice, then reused without asking the driver.
        context.free(block).unwrap();
        assert!(matches!(context.free(block), Err(CudaError::BadRange { .. })));
        assert_eq!(context.alloc(900).unwrap(), block);
        assert_eq!(context.allocator_stats().driver_allocations, 2);

        // Fill the device, give all of it back to the cache, and ask for a size the cache does not have.
        let blocks: Vec<u64> = (0..7).map(|_| context.alloc(2 << 20).unwrap()).collect();
        let full = context.alloc(4 << 20).unwrap_err();
        assert!(matches!(full, CudaError::OutOfMemory { requested: 4_194_304, total: MEMORY, .. }), "{full}");
        blocks.iter().for_each(|&block| context.free(block).unwrap());
        context.alloc(8 << 20).expect("cached blocks are given back");
        assert!(matches!(context.alloc(usize::MAX), Err(CudaError::OutOfMemory { .. })));
        context.trim().unwrap();
        assert_eq!(context.allocator_stats().cached_bytes, 0);
        drop(context);
        assert!(fake().blocks.is_empty(), "the last reference gives everything back");
    });
}

#[test]
fn launches_are_checked_before_the_driver_sees_them() {
    with_fake_driver(&here("launches_are_checked_before_the_driver_sees_them"), || {
        let context = CudaContext::new(0).unwrap();
        let module = context.load_module("// good").unwrap();
        let info = context.kernel_info(&module, "fill").unwrap();
        assert_eq!((info.max_threads_per_block, info.registers, info.static_shared_bytes), (512, 40, 1024));
        let block = context.alloc(64).unwrap();
        let args = [KernelArg::value(block), KernelArg::value(16u32), KernelArg::value(0.5f32)];
        // SAFETY: refused before anything runs, or as `fill` wants it.
        let launch = |grid, threads, shared, args: &[KernelArg<'_>]| unsafe {
            context.launch(&module, "fill", grid, threads, shared, args)
        };
        for (refused, why) in [
            (launch([0, 1, 1], [1, 1, 1], 0, &args), "no threads"),
            (launch([1, 1, 1], [1, 0, 1], 0, &args), "no threads"),
            (launch([1, 70_000, 1], [1, 1, 1], 0, &args), "65535"),
            (launch([1, 1, 1], [32, 32, 1], 0, &args), "at most 512"),
            (launch([1, 1, 1], [32, 1, 1], 227 << 10, &args), "shared memory"),
            (launch([1, 1, 1], [32, 1, 1], 0, &args[..2]), "arguments"),
            (launch([1, 1, 1], [32, 1, 1], 0, &[args[0], args[0], args[2]]), "arguments"),
        ] {
            let error = refused.expect_err(why);
            assert!(matches!(error, CudaError::InvalidLaunch { .. }), "{error}");
            assert!(error.to_string().contains(why) && error.to_string().contains("`fill`"), "{error}");
        }
        assert!(!fake().calls.contains(&"cuLaunchKernel".to_owned()));
        launch([1, 1, 1], [32, 1, 1], 47 << 10, &args).unwrap();
        assert_eq!(fake().opted_in, 0, "static and dynamic fit the default");
        launch([1, 1, 1], [32, 1, 1], 48 << 10, &args).unwrap();
        assert_eq!(fake().opted_in, 48 << 10);
        launch([1, 1, 1], [32, 1, 1], 226 << 10, &args).unwrap();
        launch([1, 1, 1], [32, 1, 1], 100 << 10, &args).unwrap();
        assert_eq!(fake().opted_in, 226 << 10, "opted in once");
        // Bytes by value, and a kernel that is not there.
        let [address, count, value] = [&block.to_ne_bytes()[..], &3u32.to_ne_bytes(), &9f32.to_ne_bytes()];
        launch([1, 1, 1], [1, 1, 1], 0, &[address, count, value].map(KernelArg::bytes)).unwrap();
        assert_eq!(download(&context, block, 12), 9f32.to_ne_bytes().repeat(3));
        assert!(
            matches!(context.kernel_info(&module, "absent"), Err(CudaError::NoSuchKernel { kernel }) if kernel == "absent")
        );
        let broken = context.load_module("broken").unwrap_err();
        assert!(broken.to_string().contains("line 3; error"), "{broken}");
        assert!(matches!(context.load_module("a\0b"), Err(CudaError::Jit { .. })));
    });
}

#[test]
fn a_fault_names_the_kernels_and_the_device_opens_again() {
    with_fake_driver(&here("a_fault_names_the_kernels_and_the_device_opens_again"), || {
        for (kernel, code) in [("illegal", DriverCode::ILLEGAL_ADDRESS), ("assertion", DriverCode::ASSERT)] {
            let context = CudaContext::new(0).unwrap();
            let module = context.load_module("// good").unwrap();
            let block = context.alloc(64).unwrap();
            let (event, pinned) = (context.event().unwrap(), context.pinned(64).unwrap());
            context.upload(block, &[1; 64]).unwrap();
            fault_after_a_synchronise(&context, &module, block, kernel);
            let error = context.synchronize().unwrap_err();
            assert!(matches!(&error, CudaError::Fault { code: found, .. } if *found == code), "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("latest first: fill, {kernel}.")), "{text}");
            assert!(text.contains("--device sim"), "{text}");
            // The same from everything, for ever, without a driver call.
            let calls = fake().calls.len();
            assert_eq!(context.alloc(1), Err(error.clone()));
            assert_eq!(fill(&context, &module, block, 1, 0.0), Err(error.clone()));
            assert_eq!(pinned.write(0, &[1]), Err(error.clone()));
            assert_eq!(event.record(), Err(error.clone()));
            assert!(matches!(CudaContext::new(0), Err(CudaError::Misuse { .. })), "still in use");
            drop((module, event, pinned));
            assert_eq!(fake().calls.len(), calls);
            drop(context);
            assert_eq!(fake().calls[calls..], ["cuDevicePrimaryCtxReset_v2", "cuDevicePrimaryCtxRelease_v2"]);
        }
        let context = CudaContext::new(0).expect("the device opens again");
        let block = context.alloc(4).unwrap();
        context.upload(block, &[1, 2, 3, 4]).unwrap();
        assert_eq!(download(&context, block, 4), [1, 2, 3, 4]);
    });
}

#[test]
fn a_fault_in_a_graph_names_its_kernels() {
    with_fake_driver(&here("a_fault_in_a_graph_names_its_kernels"), || {
        let context = CudaContext::new(0).unwrap();
        let module = context.load_module("// good").unwrap();
        let block = context.alloc(64).unwrap();
        let step = || {
            fill(&context, &module, block, 4, 1.0)?;
            fill(&context, &module, block, 4, 2.0)?;
            fault(&context, &module, "illegal");
            Ok::<_, CudaError>(())
        };
        let graph = context.capture(step).unwrap();
        context.synchronize().expect("nothing ran yet");
        context.replay(&graph).unwrap();
        let text = context.download(block, &mut [0; 4]).unwrap_err().to_string();
        assert!(text.contains("a graph of 3 kernels (among them, latest first: illegal fill)"), "{text}");
    });
}

fn fault_after_a_synchronise(context: &CudaContext, module: &CudaModule, block: u64, kernel: &str) {
    fill(context, module, block, 16, 1.0).unwrap();
    context.synchronize().unwrap();
    fault(context, module, kernel);
    fill(context, module, block, 16, 2.0).unwrap();
}

#[test]
fn one_context_for_a_device_in_a_process() {
    with_fake_driver(&here("one_context_for_a_device_in_a_process"), || {
        let first = CudaContext::new(0).unwrap();
        let second = CudaContext::new(0).unwrap();
        let block = first.alloc(8).unwrap();
        second.upload(block, &[5; 8]).unwrap();
        assert_eq!(download(&first, block, 8), [5; 8]);
        let retained = || fake().calls.iter().filter(|call| *call == "cuDevicePrimaryCtxRetain").count();
        assert_eq!(retained(), 1);
        let info = CudaContext::describe(0).unwrap();
        assert_eq!((&*info.name, info.compute_capability, info.multiprocessors), ("Fake GPU", (9, 0), 132));
        assert_eq!((info.memory_total, info.driver_version), (MEMORY, (12, 8)));
        assert_eq!(info.memory_free, Some(MEMORY - 512));
        assert_eq!(CudaContext::new(3).map(|_| ()), Err(CudaError::NoSuchDevice { ordinal: 3, count: 1 }));
        drop(first);
        second.synchronize().unwrap();
        drop(second);
        assert!(fake().calls.contains(&"cuDevicePrimaryCtxRelease_v2".to_owned()));
        // Threads that open and drop it at once never meet a context being torn down.
        std::thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || {
                    for round in 0..20 {
                        let context = CudaContext::new(0).unwrap();
                        let data = noise(seed * 100 + round, 300);
                        let block = context.alloc(300).unwrap();
                        context.upload(block, &data).unwrap();
                        assert_eq!(download(&context, block, 300), data);
                        context.free(block).unwrap();
                    }
                });
            }
        });
    });
}

#[test]
fn events_measure_between_two_points() {
    with_fake_driver(&here("events_measure_between_two_points"), || {
        let context = CudaContext::new(0).unwrap();
        let (start, end) = (context.event().unwrap(), context.event().unwrap());
        assert!(start.elapsed_ms(&end).is_err(), "never recorded");
        let block = context.alloc(64).unwrap();
        start.record().unwrap();
        (0..3).for_each(|_| context.fill_u8(block, 1, 64).unwrap());
        end.record().unwrap();
        assert_eq!(
            start.elapsed_ms(&end).unwrap(),
            4.0,
            "the fake's clock ticks once for each piece of work"
        );
    });
}

#[test]
fn a_graph_replays_what_was_captured() {
    with_fake_driver(&here("a_graph_replays_what_was_captured"), || {
        let context = CudaContext::new(0).unwrap();
        let module = context.load_module("// good").unwrap();
        let (a, b, temporary) =
            (context.alloc(64).unwrap(), context.alloc(64).unwrap(), context.alloc(64).unwrap());
        let batch = context.pinned(8).unwrap();
        assert!(batch.is_pinned());
        context.fill_u8(a, 0, 64).unwrap();
        let graph = context
            .capture(|| {
                context.upload_pinned(temporary, &batch, 0, 8)?;
                context.upload(temporary + 8, &[42; 8])?;
                fill(&context, &module, temporary + 16, 2, 3.0)?;
                context.copy(b, temporary, 24)?;
                assert!(matches!(context.synchronize(), Err(CudaError::Misuse { .. })));
                assert!(matches!(context.download(a, &mut [0]), Err(CudaError::Misuse { .. })));
                context.free(temporary)
            })
            .unwrap();
        assert_eq!((graph.nodes(), graph.kernels().collect::<Vec<_>>()), (4, vec!["fill"]));
        assert_ne!(context.alloc(64).unwrap(), temporary, "the graph writes there");
        drop(module);
        assert!(!fake().calls.contains(&"cuModuleUnload".to_owned()), "the graph launches its kernel");
        for round in 0..3u8 {
            // Waits for the replay before it, which reads the buffer late.
            batch.write(0, &[round; 8]).unwrap();
            context.replay(&graph).unwrap();
            context.copy(a + 8 * u64::from(round), b, 8).unwrap();
        }
        let expected: Vec<u8> = [0, 1, 2].iter().flat_map(|&round| [round; 8]).collect();
        assert_eq!(download(&context, a, 24), expected);
        assert_eq!(download(&context, b + 8, 8), [42; 8]);
        assert_eq!(download(&context, b + 16, 8), 3f32.to_ne_bytes().repeat(2));
        drop(graph);
        assert!(fake().calls.contains(&"cuModuleUnload".to_owned()));
        assert_eq!(context.alloc(64).unwrap(), temporary, "the graph gave it back");
        // Device to pinned memory.
        context.download_pinned(a, &batch, 0, 8).unwrap();
        let mut bytes = [9; 8];
        batch.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 8]);
        assert!(matches!(batch.write(1, &[0; 8]), Err(CudaError::BadRange { .. })));
    });
}

#[test]
fn a_capture_that_fails_leaves_the_context_usable() {
    with_fake_driver(&here("a_capture_that_fails_leaves_the_context_usable"), || {
        let context = CudaContext::new(0).unwrap();
        let block = context.alloc(64).unwrap();
        context.fill_u8(block, 5, 64).unwrap();
        let nested = context.capture(|| context.capture(|| Ok::<_, CudaError>(())).map(|_| ()));
        assert!(matches!(nested, Err(CudaError::Misuse { operation: "capture", .. })));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            context.capture(|| -> Result<(), CudaError> {
                context.fill_u8(block, 9, 64)?;
                context.free(block)?;
                panic!("in the middle of a capture")
            })
        }));
        assert!(panicked.is_err());
        // Back in the cache, with nothing run.
        let block = context.alloc(64).unwrap();
        assert_eq!(download(&context, block, 64), [5; 64]);
        // Another thread's work waits for the capture to end and stays out of the graph.
        std::thread::scope(|scope| {
            let (started, wait) = std::sync::mpsc::channel();
            let other = context.clone();
            let graph = context
                .capture(|| {
                    scope.spawn(move || {
                        started.send(()).expect("the capture waits for this");
                        other.fill_u8(block, 8, 64).unwrap();
                    });
                    wait.recv().expect("the thread sends");
                    context.fill_u8(block, 6, 1)
                })
                .unwrap();
            assert_eq!(graph.nodes(), 1);
        });
        assert_eq!(download(&context, block, 2), [8, 8]);
    });
}

#[test]
fn memory_that_cannot_be_pinned_works_all_the_same() {
    with_fake_driver(&here("memory_that_cannot_be_pinned_works_all_the_same"), || {
        refuse_pinning();
        let context = CudaContext::new(0).unwrap();
        let (block, buffer) = (context.alloc(256).unwrap(), context.pinned(256).unwrap());
        assert!(!buffer.is_pinned());
        let data = noise(3, 256);
        buffer.write(0, &data).unwrap();
        context.upload_pinned(block, &buffer, 0, 256).unwrap();
        context.upload(block + 10, &[1, 2, 3]).unwrap();
        let mut expected = data;
        expected[10..13].copy_from_slice(&[1, 2, 3]);
        assert_eq!(download(&context, block, 256), expected);
        drop((buffer, context));
        assert!(!fake().calls.contains(&"cuMemHostUnregister".to_owned()));
    });
}
