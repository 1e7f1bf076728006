//! What can go wrong on a CUDA device, said so that the reader can act on it.
//!
//! This file knows no driver: it is compiled into every build, also into one without CUDA, and holds the
//! numbers, names and remedies of the driver API's result codes (`CUresult`, CUDA Driver API, section "Data
//! types used by CUDA driver").
//!
//! Three kinds matter to callers:
//! * [`CudaError::NotCompiled`], [`CudaError::NoDriver`], [`CudaError::NoGpu`] and
//!   [`CudaError::DriverUnusable`]: there is no CUDA here, and `--device auto` may go on with the CPU
//!   ([`CudaError::is_unavailable`]);
//! * [`CudaError::Fault`]: a kernel broke the context, every later call on it gives the same error, and only
//!   a new context helps ([`CudaError::is_sticky`]);
//! * everything else: this one call failed.

/// Environment variable that names the driver library to load instead of `libcuda.so.1`.
pub const LIBRARY_VARIABLE: &str = "IRONWARP_LIBCUDA";

/// An error of the CUDA device. Its text names the call, kernel or size it is about and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The program was built without CUDA.
    #[error(
        "this program was built without CUDA: build it with `cargo build --config \
         <path to ironwarp>/.cargo/config.toml`, or with the feature `cuda` where a CUDA toolkit is installed; \
         or use --device cpu or --device sim"
    )]
    NotCompiled,
    /// The driver library could not be loaded.
    #[error(
        "the NVIDIA driver library {library} was not found ({reason}): install the NVIDIA driver, or set \
         {LIBRARY_VARIABLE} to the path of its libcuda, or use --device cpu or --device sim"
    )]
    NoDriver {
        /// What was looked for.
        library: String,
        /// The dynamic loader's own words.
        reason: String,
    },
    /// The driver is there and sees no GPU.
    #[error(
        "the NVIDIA driver is installed but sees no GPU: check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use \
         --device cpu or --device sim"
    )]
    NoGpu,
    /// The driver is there and does not start.
    #[error("the NVIDIA driver did not start: {0}; or use --device cpu or --device sim")]
    DriverUnusable(DriverCode),
    /// The machine has fewer GPUs than the ordinal asks for.
    #[error("there is no device cuda:{ordinal}: this machine has {count} GPU(s), cuda:0 to cuda:{}", count - 1)]
    NoSuchDevice {
        /// The ordinal asked for.
        ordinal: usize,
        /// GPUs the driver sees, at least 1.
        count: usize,
    },
    /// A driver call failed and the context is as good as before.
    #[error("{call} failed: {code}")]
    Driver {
        /// The driver function.
        call: &'static str,
        /// What it returned.
        code: DriverCode,
    },
    /// A kernel or the hardware broke the context; it is lost.
    #[error(
        "cuda:{ordinal} stopped: {code}. {kernels}. The contents of its memory are lost: open the device again; \
         run the same with --device sim to get the kernel, block, thread and line"
    )]
    Fault {
        /// The device.
        ordinal: usize,
        /// What the driver reported.
        code: DriverCode,
        /// The kernels that ran since the last successful synchronise, latest first, as a sentence.
        kernels: String,
    },
    /// The device has no room, even after the cache was given back.
    #[error(
        "cuda:{ordinal} is out of memory: {requested} bytes asked for; this process holds {in_use} bytes, \
         the device has {free} of {total} bytes free: use a smaller batch or model, or end other programs on the GPU"
    )]
    OutOfMemory {
        /// The device.
        ordinal: usize,
        /// Bytes asked for.
        requested: usize,
        /// Bytes that live allocations of this context take.
        in_use: usize,
        /// Bytes the driver says are free.
        free: usize,
        /// Bytes of the device.
        total: usize,
    },
    /// The driver's PTX compiler refused a module.
    #[error("the driver could not compile the PTX: {code}{}", Log(log))]
    Jit {
        /// What the driver returned.
        code: DriverCode,
        /// The compiler's log, maybe empty.
        log: String,
    },
    /// A module has no such kernel.
    #[error("the PTX module has no kernel `{kernel}`: is it marked #[kernel], and was the PTX rebuilt?")]
    NoSuchKernel {
        /// The name asked for.
        kernel: String,
    },
    /// A launch that the device cannot run.
    #[error("kernel `{kernel}` cannot be launched: {reason}")]
    InvalidLaunch {
        /// The kernel.
        kernel: String,
        /// Why, with the numbers.
        reason: String,
    },
    /// A device address range that is not inside one live allocation of the context.
    #[error("{operation} of {bytes} bytes at device address {address:#x}: {reason}")]
    BadRange {
        /// What was to be done there.
        operation: &'static str,
        /// First byte.
        address: u64,
        /// Length.
        bytes: usize,
        /// Why not.
        reason: &'static str,
    },
    /// Something that cannot be done while a graph is being captured, or with a foreign object.
    #[error("{operation}: {reason}")]
    Misuse {
        /// What was called.
        operation: &'static str,
        /// Why not, and what to do.
        reason: &'static str,
    },
}

impl CudaError {
    /// Whether there is no CUDA to be had here, so that `auto` goes on with the CPU.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::NotCompiled | Self::NoDriver { .. } | Self::NoGpu | Self::DriverUnusable(_))
    }

    /// Whether the context is lost: drop everything made from it and open the device again.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Fault { .. })
    }
}

/// The log on lines of its own, or nothing.
struct Log<'a>(&'a str);

impl std::fmt::Display for Log<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ":\n{}", self.0) }
    }
}

/// A `CUresult` other than success, as the number it is: a driver newer than any list may return codes
/// unknown to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverCode(pub u32);

impl DriverCode {
    /// `CUDA_ERROR_INVALID_VALUE`.
    pub const INVALID_VALUE: Self = Self(1);
    /// `CUDA_ERROR_OUT_OF_MEMORY`.
    pub const OUT_OF_MEMORY: Self = Self(2);
    /// `CUDA_ERROR_STUB_LIBRARY`: no driver behind the entry point.
    pub const STUB_LIBRARY: Self = Self(34);
    /// `CUDA_ERROR_NO_DEVICE`.
    pub const NO_DEVICE: Self = Self(100);
    /// `CUDA_ERROR_NOT_FOUND`.
    pub const NOT_FOUND: Self = Self(500);
    /// `CUDA_ERROR_ILLEGAL_ADDRESS`.
    pub const ILLEGAL_ADDRESS: Self = Self(700);
    /// `CUDA_ERROR_ASSERT`: a device assertion failed.
    pub const ASSERT: Self = Self(710);
    /// `CUDA_ERROR_NOT_SUPPORTED`; also what an entry point gives that the installed driver lacks.
    pub const NOT_SUPPORTED: Self = Self(801);

    /// The constant's name and what it means to the reader, remedy included where there is one.
    fn entry(self) -> (&'static str, &'static str) {
        match self.0 {
            1 => ("CUDA_ERROR_INVALID_VALUE", "an argument is out of range"),
            2 => ("CUDA_ERROR_OUT_OF_MEMORY", "the device or the pinned host memory is full"),
            3 => ("CUDA_ERROR_NOT_INITIALIZED", "the driver is not initialised"),
            4 => ("CUDA_ERROR_DEINITIALIZED", "the driver is shutting down with the process"),
            34 => ("CUDA_ERROR_STUB_LIBRARY", "no NVIDIA driver is loaded, or a toolkit's stub library is"),
            46 => (
                "CUDA_ERROR_DEVICE_UNAVAILABLE",
                "the GPU is busy or in exclusive mode: see `nvidia-smi -q -d COMPUTE`",
            ),
            100 => ("CUDA_ERROR_NO_DEVICE", "no GPU is visible: check `nvidia-smi` and CUDA_VISIBLE_DEVICES"),
            101 => ("CUDA_ERROR_INVALID_DEVICE", "there is no such GPU"),
            200 => ("CUDA_ERROR_INVALID_IMAGE", "the module is not PTX or a cubin"),
            201 => ("CUDA_ERROR_INVALID_CONTEXT", "the context is gone"),
            209 => {
                ("CUDA_ERROR_NO_BINARY_FOR_GPU", "the module holds no code for this GPU's compute capability")
            }
            214 => (
                "CUDA_ERROR_ECC_UNCORRECTABLE",
                "an uncorrectable memory error: the GPU needs a reset or a repair",
            ),
            218 => ("CUDA_ERROR_INVALID_PTX", "the PTX does not compile, or it is for a newer GPU"),
            220 => ("CUDA_ERROR_NVLINK_UNCORRECTABLE", "an uncorrectable NVLink error"),
            221 => (
                "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
                "libnvidia-ptxjitcompiler is missing: install the whole driver",
            ),
            222 => (
                "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
                "the driver is older than the PTX: update the NVIDIA driver",
            ),
            223 => ("CUDA_ERROR_JIT_COMPILATION_DISABLED", "unset CUDA_DISABLE_PTX_JIT"),
            226 => ("CUDA_ERROR_CONTAINED", "a contained memory error"),
            304 => ("CUDA_ERROR_OPERATING_SYSTEM", "the operating system refused: see `dmesg`"),
            400 => (
                "CUDA_ERROR_INVALID_HANDLE",
                "a stream, event, module or graph that is not (or no longer) there",
            ),
            500 => ("CUDA_ERROR_NOT_FOUND", "no such symbol"),
            600 => ("CUDA_ERROR_NOT_READY", "the work is not finished"),
            700 => ("CUDA_ERROR_ILLEGAL_ADDRESS", "a kernel read or wrote outside its memory"),
            701 => (
                "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
                "too many threads, registers or bytes of shared memory for one block",
            ),
            702 => ("CUDA_ERROR_LAUNCH_TIMEOUT", "a kernel ran longer than the display's watchdog allows"),
            709 => ("CUDA_ERROR_CONTEXT_IS_DESTROYED", "the context was destroyed"),
            710 => ("CUDA_ERROR_ASSERT", "a device assertion failed (kernel, file and line are on stderr)"),
            712 => ("CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "the host memory is pinned already"),
            713 => ("CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "the host memory is not pinned"),
            714 => ("CUDA_ERROR_HARDWARE_STACK_ERROR", "a kernel's call stack broke"),
            715 => (
                "CUDA_ERROR_ILLEGAL_INSTRUCTION",
                "a kernel met an illegal instruction, such as a trap after a failed check",
            ),
            716 => ("CUDA_ERROR_MISALIGNED_ADDRESS", "a kernel's load or store was not aligned"),
            717 => ("CUDA_ERROR_INVALID_ADDRESS_SPACE", "a kernel used an address of the wrong state space"),
            718 => ("CUDA_ERROR_INVALID_PC", "a kernel jumped outside its code"),
            719 => (
                "CUDA_ERROR_LAUNCH_FAILED",
                "a kernel failed while it ran, such as a trap or a bad shared-memory access",
            ),
            720 => ("CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE", "the grid does not fit the GPU at once"),
            721 => ("CUDA_ERROR_TENSOR_MEMORY_LEAK", "a kernel ended with tensor memory allocated"),
            800 => ("CUDA_ERROR_NOT_PERMITTED", "not permitted here"),
            801 => {
                ("CUDA_ERROR_NOT_SUPPORTED", "this GPU or driver does not have it: update the NVIDIA driver")
            }
            802 => (
                "CUDA_ERROR_SYSTEM_NOT_READY",
                "the system is not ready: is the NVIDIA fabric manager running?",
            ),
            803 => (
                "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
                "the driver library and the kernel module differ in version: reboot, or reinstall the driver",
            ),
            804 => (
                "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
                "the forward-compatibility library does not serve this GPU",
            ),
            805..=810 => {
                ("CUDA_ERROR_MPS_*", "the multi-process service refused: restart nvidia-cuda-mps-control")
            }
            900 => ("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "the call cannot be captured into a graph"),
            901 => ("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "an earlier error ended the graph capture"),
            904 => ("CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "the captured stream forked and did not join"),
            906 => {
                ("CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "the legacy default stream was used during a capture")
            }
            908 => ("CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "the capture was ended by another thread"),
            912 => {
                ("CUDA_ERROR_INVALID_CLUSTER_SIZE", "the thread block cluster is too large for the kernel")
            }
            999 => (
                "CUDA_ERROR_UNKNOWN",
                "an unknown error inside the driver: see `dmesg`, then reload the driver or reboot",
            ),
            _ => ("CUresult", "see this number under CUresult in the CUDA driver API"),
        }
    }

    /// The driver API's constant, such as `CUDA_ERROR_ILLEGAL_ADDRESS`.
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// Whether the driver returns it for ever after on the same context.
    pub fn is_sticky(self) -> bool {
        matches!(self.0, 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 721)
    }
}

impl std::fmt::Display for DriverCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, meaning) = self.entry();
        write!(f, "{name} ({}): {meaning}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_the_thing_and_the_remedy() {
        let missing = CudaError::NoDriver { library: "libcuda.so.1".into(), reason: "no such file".into() };
        let text = missing.to_string();
        for part in ["libcuda.so.1", "no such file", LIBRARY_VARIABLE, "--device cpu"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(missing.is_unavailable() && !missing.is_sticky());
        let text = CudaError::NoSuchDevice { ordinal: 7, count: 2 }.to_string();
        assert!(text.contains("cuda:7") && text.contains("cuda:1"), "{text}");
        let assertion =
            CudaError::Fault { ordinal: 0, code: DriverCode::ASSERT, kernels: "Kernels: a".into() };
        let text = assertion.to_string();
        for part in ["CUDA_ERROR_ASSERT (710)", "a device assertion failed", "--device sim"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(assertion.is_sticky());
        assert_eq!(
            DriverCode(12345).to_string(),
            "CUresult (12345): see this number under CUresult in the CUDA driver API"
        );
        let jit = CudaError::Jit { code: DriverCode(218), log: "ptxas: line 3".into() };
        assert!(jit.to_string().ends_with(":\nptxas: line 3"));
    }

    #[test]
    fn faults_are_told_from_failed_calls() {
        for sticky in [700, 702, 710, 715, 716, 719] {
            assert!(DriverCode(sticky).is_sticky(), "{sticky}");
        }
        for harmless in [1, 2, 34, 100, 209, 218, 500, 600, 701, 712, 720, 801, 900] {
            assert!(!DriverCode(harmless).is_sticky(), "{harmless}");
        }
    }
}
