//! The oracle: a graph evaluated in `f64`, node by node, without planning or fusion.

use std::collections::HashMap;

use super::{Graph, Source, Value};
use crate::device::DType;
use crate::ops::{CpuCtx, OpError, Slot};

/// A tensor on the host, as the oracle holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum HostTensor {
    /// An `f32` tensor, widened.
    Real(Vec<f64>),
    /// A `u32` tensor.
    U32(Vec<u32>),
    /// A half-precision tensor, as bits.
    Half(Vec<u16>),
    /// A tensor of 8-bit floats, as codes.
    Float8(Vec<u8>),
}

impl HostTensor {
    /// Zeros for `len` elements of `dtype`.
    pub fn zeros(dtype: DType, len: usize) -> HostTensor {
        match dtype {
            DType::F32 => HostTensor::Real(vec![0.0; len]),
            DType::U32 => HostTensor::U32(vec![0; len]),
            DType::F16 | DType::Bf16 => HostTensor::Half(vec![0; len]),
            DType::E4m3 | DType::E5m2 => HostTensor::Float8(vec![0; len]),
        }
    }

    /// From `f32` values, exactly.
    pub fn from_f32(data: &[f32]) -> HostTensor {
        HostTensor::Real(data.iter().map(|&x| f64::from(x)).collect())
    }

    /// The real elements; empty for integers.
    pub fn real(&self) -> &[f64] {
        match self {
            HostTensor::Real(v) => v,
            _ => &[],
        }
    }

    /// The integer elements; empty for reals.
    pub fn u32(&self) -> &[u32] {
        match self {
            HostTensor::U32(v) => v,
            _ => &[],
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            HostTensor::Real(v) => v.len(),
            HostTensor::U32(v) => v.len(),
            HostTensor::Half(v) => v.len(),
            HostTensor::Float8(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn fits(&self, dtype: DType) -> bool {
        match self {
            HostTensor::Real(_) => dtype == DType::F32,
            HostTensor::U32(_) => dtype == DType::U32,
            HostTensor::Half(_) => dtype.bytes() == 2,
            HostTensor::Float8(_) => dtype.bytes() == 1,
        }
    }

    fn slot(&mut self, dtype: DType) -> Slot {
        let (address, len) = match self {
            HostTensor::Real(v) => (v.as_mut_ptr() as u64, v.len()),
            HostTensor::U32(v) => (v.as_mut_ptr() as u64, v.len()),
            HostTensor::Half(v) => (v.as_mut_ptr() as u64, v.len()),
            HostTensor::Float8(v) => (v.as_mut_ptr() as u64, v.len()),
        };
        Slot { address, len, dtype }
    }
}

/// Every value of an evaluated graph.
#[derive(Debug)]
pub struct Evaluation {
    values: Vec<Option<HostTensor>>,
}

impl Evaluation {
    /// What `value` came to.
    pub fn get(&self, value: Value) -> &HostTensor {
        self.values[value.index()].as_ref().expect("every value of the graph was evaluated")
    }
}

impl Graph {
    /// Evaluates every node in `f64`. `feed` gives inputs and states by name; states not named are zero.
    /// Errors: an input is missing, or has another length or type.
    pub fn eval(&self, feed: &HashMap<String, HostTensor>) -> Result<Evaluation, OpError> {
        let mut values: Vec<Option<HostTensor>> = vec![None; self.values.len()];
        for (i, info) in self.values.iter().enumerate() {
            let name = info.name.as_deref().unwrap_or("");
            values[i] = match &info.source {
                Source::Constant(data) => Some(HostTensor::from_f32(data)),
                Source::Node { .. } => None,
                Source::Input | Source::State => match feed.get(name) {
                    Some(t) if t.len() == info.ty.len() && t.fits(info.ty.dtype) => Some(t.clone()),
                    Some(t) => {
                        return Err(OpError::Graph(format!(
                            "'{name}' is {}, {} elements given",
                            info.ty,
                            t.len()
                        )));
                    }
                    None if matches!(info.source, Source::State) => {
                        Some(HostTensor::zeros(info.ty.dtype, info.ty.len()))
                    }
                    None => {
                        return Err(OpError::Graph(format!("input '{name}' ({}) was not given", info.ty)));
                    }
                },
            };
        }
        for node in &self.nodes {
            self.eval_node(node, &mut values);
        }
        Ok(Evaluation { values })
    }

    fn eval_node(&self, node: &super::Node, values: &mut [Option<HostTensor>]) {
        // Operands are moved out (inputs that occur twice are cloned), so that slices never overlap.
        let mut inputs: Vec<HostTensor> =
            node.inputs.iter().map(|v| values[v.index()].clone().expect("nodes are in order")).collect();
        let mut outputs: Vec<HostTensor> =
            node.outputs.iter().map(|&v| HostTensor::zeros(self.ty(v).dtype, self.ty(v).len())).collect();
        for (j, k) in node.op.in_place_pairs(node.inputs.len()) {
            outputs[k] = inputs[j].clone();
        }
        let types = |vs: &[Value]| self.types(vs);
        let n = node.op.workspace(&types(&node.inputs), &types(&node.outputs));
        let mut workspace = HostTensor::zeros(DType::F32, n);
        let slots = |tensors: &mut [HostTensor], vs: &[Value]| -> Vec<Slot> {
            tensors.iter_mut().zip(vs).map(|(t, &v)| t.slot(self.ty(v).dtype)).collect()
        };
        let (i, o) = (slots(&mut inputs, &node.inputs), slots(&mut outputs, &node.outputs));
        // SAFETY: every slot points into its own vector, alive until the end of this function, of the slot's length.
        let ctx = unsafe { CpuCtx::<f64>::new(&i, &o, workspace.slot(DType::F32)) };
        node.op.run_f64(&ctx);
        for (v, t) in node.outputs.iter().zip(outputs) {
            values[v.index()] = Some(t);
        }
    }
}
