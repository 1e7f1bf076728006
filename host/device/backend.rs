//! What a device kind implements: untyped memory and launches. Private; users see [`Device`](super::Device).

use std::time::Instant;

use super::{
    ArgValue, DeviceError, DeviceKind, DeviceStats, Launch, Model, PtxModule, Target, TensorMap, tensor_map,
};

/// A recorded sequence of launches and copies that a device starts as one.
pub(crate) trait Replay: Send {
    /// Starts the sequence.
    fn replay(&self) -> Result<(), DeviceError>;
}

/// One device kind. Addresses are device addresses (`cpu`: host addresses); copies are ordered with launches.
pub(crate) trait Backend: Send + Sync {
    /// Which kind.
    fn kind(&self) -> DeviceKind;
    /// `bytes` of uninitialised memory, aligned to 256 bytes.
    fn alloc(&self, bytes: usize) -> Result<u64, DeviceError>;
    /// Returns what `alloc(bytes)` gave.
    fn free(&self, address: u64, bytes: usize);
    /// Host to device.
    fn upload(&self, dst: u64, src: &[u8]) -> Result<(), DeviceError>;
    /// Device to host; waits for what was launched before.
    fn download(&self, src: u64, dst: &mut [u8]) -> Result<(), DeviceError>;
    /// Device to device; the ranges do not overlap.
    fn copy(&self, dst: u64, src: u64, bytes: usize) -> Result<(), DeviceError>;
    /// Starts a kernel.
    fn launch(
        &self,
        module: &'static PtxModule,
        kernel: &str,
        launch: &Launch,
        args: &[ArgValue],
    ) -> Result<(), DeviceError>;
    /// Waits, and returns deferred errors.
    fn synchronize(&self) -> Result<(), DeviceError>;
    /// Seconds that `body` takes on the device, see [`Device::seconds`](super::Device::seconds); of no meaning where it
    /// returns `false`.
    fn seconds(&self, body: &mut dyn FnMut() -> bool) -> Result<f64, DeviceError> {
        self.synchronize()?;
        let began = Instant::now();
        if body() {
            self.synchronize()?;
        }
        Ok(began.elapsed().as_secs_f64())
    }
    /// What the device is.
    fn model(&self) -> Model;
    /// Counters.
    fn stats(&self) -> DeviceStats;
    /// Takes the profiles of the launches since the last call: a simulator's that was opened to profile.
    fn take_profiles(&self) -> Vec<ptx_sim::profile::Profile> {
        Vec::new()
    }
    /// The variant of a module's PTX that it executes.
    fn target(&self) -> Target {
        Target::Sm80
    }
    /// Most shared memory of a block, static and dynamic, in bytes.
    fn shared_limit(&self) -> u32;
    /// The address of a tensor map; see [`tensor_map`].
    fn tensor_map(&self, _map: &TensorMap) -> Result<u64, DeviceError> {
        Err(tensor_map::unavailable(self.kind()))
    }
    /// Whether tensors of a plan share one arena here (`false`: each its own allocation, so that the sanitizer sees
    /// an access from one tensor into the next).
    fn arena(&self) -> bool {
        true
    }
    /// Records what `body` launches as one replayable unit, where the device can (CUDA graphs); else `None`, and
    /// `body` has not run.
    fn capture(
        &self,
        _body: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<Option<Box<dyn Replay>>, DeviceError> {
        Ok(None)
    }
}
