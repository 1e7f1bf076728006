//! What an operation sees when it runs: typed access to its operands.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::device::{
    ArgValue, DType, Device, DeviceError, DevicePtr, DevicePtrMut, Element, Kernel, Launch, LaunchArgs,
    MAX_ARGS,
};
use crate::real::Real;

/// Where an operand lives: address (host address on `cpu`), length in elements, and element type.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Address of element 0.
    pub address: u64,
    /// Elements.
    pub len: usize,
    /// Element type (in the `f64` oracle, `F32` operands hold `f64`).
    pub dtype: DType,
}

/// Operands of one CPU execution in `T`. Every access is a plain slice; nothing is allocated.
pub struct CpuCtx<'a, T: Real> {
    inputs: &'a [Slot],
    outputs: &'a [Slot],
    workspace: Slot,
    /// Bit k: output k was handed out; bit 63: the workspace.
    taken: Cell<u64>,
    real: PhantomData<T>,
}

impl<'a, T: Real> CpuCtx<'a, T> {
    /// Operands at these places.
    ///
    /// # Safety
    /// - Every slot covers `len` live, initialised elements of its type (`F32` meaning `T`), valid for `'a`.
    /// - Output slots and the workspace overlap no other slot, except that an in-place output may coincide with the input
    ///   it is paired with, which the operation then does not read.
    pub unsafe fn new(inputs: &'a [Slot], outputs: &'a [Slot], workspace: Slot) -> CpuCtx<'a, T> {
        CpuCtx { inputs, outputs, workspace, taken: Cell::new(0), real: PhantomData }
    }

    /// Input `i`, a tensor of `f32` (seen as `T`).
    pub fn input(&self, i: usize) -> &'a [T] {
        let slot = &self.inputs[i];
        assert_eq!(slot.dtype, DType::F32, "input {i}");
        // SAFETY: `new`'s contract; no output that overlaps a readable input exists.
        unsafe { std::slice::from_raw_parts(slot.address as *const T, slot.len) }
    }

    /// Input `i`, a tensor of `u32`.
    pub fn integers(&self, i: usize) -> &'a [u32] {
        self.bits(i, DType::U32)
    }

    /// Input `i`, a tensor of half precision, as bits.
    pub fn half(&self, i: usize) -> &'a [u16] {
        let dtype = self.inputs[i].dtype;
        assert!(dtype.bytes() == 2, "input {i}");
        self.bits(i, dtype)
    }

    fn bits<E: Element>(&self, i: usize, dtype: DType) -> &'a [E] {
        let slot = &self.inputs[i];
        assert_eq!(slot.dtype, dtype, "input {i}");
        // SAFETY: as in `input`.
        unsafe { std::slice::from_raw_parts(slot.address as *const E, slot.len) }
    }

    /// Element type of input `i`.
    pub fn dtype(&self, i: usize) -> DType {
        self.inputs[i].dtype
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    fn take(&self, bit: usize) {
        let mask = 1u64 << (bit % 64);
        // Operations with more than 62 outputs (optimisers over many tensors) take them in order, once each.
        if bit < 62 || bit == 63 {
            assert_eq!(self.taken.get() & mask, 0, "operand {bit} handed out twice");
            self.taken.set(self.taken.get() | mask);
        }
    }

    /// Output `k`, a tensor of `f32` (seen as `T`); may be taken once.
    #[allow(clippy::mut_from_ref)]
    pub fn output(&self, k: usize) -> &'a mut [T] {
        let slot = &self.outputs[k];
        assert_eq!(slot.dtype, DType::F32, "output {k}");
        self.take(if k < 62 { k } else { 62 });
        // SAFETY: `new`'s contract, and `take` hands each output out once.
        unsafe { std::slice::from_raw_parts_mut(slot.address as *mut T, slot.len) }
    }

    /// Output `k`, a tensor of `u32`; may be taken once.
    #[allow(clippy::mut_from_ref)]
    pub fn output_index(&self, k: usize) -> &'a mut [u32] {
        let slot = &self.outputs[k];
        assert_eq!(slot.dtype, DType::U32, "output {k}");
        self.take(if k < 62 { k } else { 62 });
        // SAFETY: as in `output`.
        unsafe { std::slice::from_raw_parts_mut(slot.address as *mut u32, slot.len) }
    }

    /// Output `k`, a tensor of half precision, as bits; may be taken once.
    #[allow(clippy::mut_from_ref)]
    pub fn output_half(&self, k: usize) -> &'a mut [u16] {
        let slot = &self.outputs[k];
        assert!(slot.dtype.bytes() == 2, "output {k}");
        self.take(if k < 62 { k } else { 62 });
        // SAFETY: as in `output`.
        unsafe { std::slice::from_raw_parts_mut(slot.address as *mut u16, slot.len) }
    }

    /// The workspace, with arbitrary contents; may be taken once.
    #[allow(clippy::mut_from_ref)]
    pub fn workspace(&self) -> &'a mut [T] {
        self.take(63);
        // SAFETY: as in `output`.
        unsafe { std::slice::from_raw_parts_mut(self.workspace.address as *mut T, self.workspace.len) }
    }
}

/// Operands of one execution by kernels.
pub struct KernelCtx<'a> {
    /// The device to launch on.
    pub device: &'a Device,
    /// Where the inputs are.
    pub inputs: &'a [Slot],
    /// Where the outputs are.
    pub outputs: &'a [Slot],
    /// The workspace of [`Op::workspace`](super::Op::workspace) elements.
    pub workspace: DevicePtrMut<f32>,
    /// Where the bytes of [`Op::scratch`](super::Op::scratch) are, and how many.
    pub scratch: (u64, usize),
    /// The words of [`Op::table`](super::Op::table), on the device.
    pub table: DevicePtr<u64>,
    /// How many words `table` has.
    pub table_len: usize,
}

impl KernelCtx<'_> {
    /// Input `i` for a kernel parameter `*const E`. Panics when the element size differs (a bug in the operation).
    pub fn input<E: Element>(&self, i: usize) -> DevicePtr<E> {
        assert_eq!(self.inputs[i].dtype.bytes(), size_of::<E>(), "input {i}");
        DevicePtr::new(self.inputs[i].address)
    }

    /// Output `k` for a kernel parameter `*mut E`.
    pub fn output<E: Element>(&self, k: usize) -> DevicePtrMut<E> {
        assert_eq!(self.outputs[k].dtype.bytes(), size_of::<E>(), "output {k}");
        DevicePtrMut::new(self.outputs[k].address)
    }

    /// Launches a kernel; `args` are checked against its signature when this compiles.
    pub fn launch<F, A: LaunchArgs<F>>(
        &self,
        kernel: Kernel<F>,
        launch: Launch,
        args: A,
    ) -> Result<(), DeviceError> {
        let mut values = [ArgValue::U32(0); MAX_ARGS];
        let n = args.values(&mut values);
        self.device.0.launch(kernel.module, kernel.name, &launch, &values[..n])
    }
}
