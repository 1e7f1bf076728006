//! Static graphs: `Graph -> gradients -> fusion -> Plan`.
//!
//! A [`Graph`] is typed and in SSA form: every [`Value`] has a type known when it is made and is defined once, by an
//! input, a constant, a state or a node; nodes are in execution order. A *state* (parameter, moment, counter) keeps its
//! memory between runs: its value is what it held when the run began, and [`Graph::assign`] names the value it holds
//! when the run ends. Gradients are ordinary nodes ([`Graph::gradients`]), so that a whole training step, optimiser
//! included, is one graph: it is fused ([`Graph::fuse`]), its memory planned once ([`Plan::new`]) and executed
//! as often as wanted ([`Executor`]) without another allocation.
//!
//! ```text
//! Graph --gradients--> Graph --fuse--> Graph --plan--> Plan --bind(device, states)--> Executor --run--> ...
//!                                        |--eval (f64 oracle, no planning)
//! ```

mod autodiff;
mod eval;
mod exec;
mod fusion;
mod plan;
mod print;

use std::sync::Arc;

pub use autodiff::Vjp;
pub use eval::{Evaluation, HostTensor};
pub use exec::{Executor, InputId, OutputId, States, on_workers};
pub use plan::{Plan, PlanSummary};

use crate::device::DType;
use crate::ops::matmul::Precision;
use crate::ops::{Cost, Op, OpError, TensorType};

/// A value of a graph: the index of its definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Given before each run.
    Input,
    /// The same in every run.
    Constant(Arc<[f32]>),
    /// Memory that outlives a run.
    State,
    /// An output of node `node`.
    Node { node: usize },
}

/// What is known of a value.
#[derive(Clone, Debug)]
pub(crate) struct ValueInfo {
    pub ty: TensorType,
    pub name: Option<String>,
    pub source: Source,
}

/// One operation applied to values.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub op: Arc<dyn Op>,
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
}

/// A static computation. See the module's docs.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) nodes: Vec<Node>,
    /// (state, its value at the end of a run)
    pub(crate) assigns: Vec<(Value, Value)>,
    pub(crate) outputs: Vec<(String, Value)>,
    /// What products are appended with; see `autocast`.
    pub(crate) precision: Precision,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    fn define(&mut self, ty: TensorType, name: Option<String>, source: Source) -> Value {
        self.values.push(ValueInfo { ty, name, source });
        Value(self.values.len() as u32 - 1)
    }

    fn named(&mut self, name: &str, ty: TensorType, source: Source) -> Result<Value, OpError> {
        if self.values.iter().any(|v| v.name.as_deref() == Some(name)) {
            return Err(OpError::Graph(format!(
                "the name '{name}' is taken; names of inputs and states are unique"
            )));
        }
        if ty.shape.is_empty() || ty.is_empty() {
            return Err(OpError::Graph(format!(
                "'{name}' has shape {:?}; every extent must be at least 1",
                ty.shape
            )));
        }
        if ty.shape.iter().try_fold(4usize, |n, &d| n.checked_mul(d)).is_none_or(|b| b > isize::MAX as usize)
        {
            return Err(OpError::Graph(format!(
                "'{name}' has shape {:?}; that is more bytes than fit",
                ty.shape
            )));
        }
        Ok(self.define(ty, Some(name.into()), source))
    }

    /// A value given before each run.
    pub fn input(&mut self, name: &str, ty: TensorType) -> Result<Value, OpError> {
        self.named(name, ty, Source::Input)
    }

    /// A value that outlives the run: parameters, moments, counters. Two graphs that name the same state share it.
    pub fn state(&mut self, name: &str, ty: TensorType) -> Result<Value, OpError> {
        self.named(name, ty, Source::State)
    }

    /// A constant `f32` tensor. Error: the data's length is not the shape's.
    pub fn constant(&mut self, data: &[f32], shape: &[usize]) -> Result<Value, OpError> {
        let ty = TensorType::f32(shape);
        if ty.len() != data.len() || data.is_empty() {
            return Err(OpError::Graph(format!("constant of {} elements for shape {shape:?}", data.len())));
        }
        Ok(self.define(ty, None, Source::Constant(data.into())))
    }

    /// Applies `op`; the values of its outputs. This is what the builder methods of the operations call.
    pub fn push(&mut self, op: impl Op, inputs: &[Value]) -> Result<Vec<Value>, OpError> {
        self.push_shared(Arc::new(op), inputs)
    }

    /// As [`push`](Graph::push), for an operation with one output.
    pub fn push1(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value, OpError> {
        Ok(self.push(op, inputs)?[0])
    }

    /// As [`push`](Graph::push), for an operation that others hold as well.
    pub fn push_shared(&mut self, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.ty(v).clone()).collect();
        let out = op.infer(&types)?;
        let node = self.nodes.len();
        let outputs: Vec<Value> =
            out.into_iter().map(|ty| self.define(ty, None, Source::Node { node })).collect();
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone() });
        Ok(outputs)
    }

    /// Makes `value` readable after a run under `name`.
    pub fn output(&mut self, name: &str, value: Value) {
        self.outputs.push((name.into(), value));
    }

    /// At the end of a run, `state` holds `value`. Errors: not a state, another type, assigned twice.
    pub fn assign(&mut self, state: Value, value: Value) -> Result<(), OpError> {
        let info = &self.values[state.index()];
        let name = info.name.clone().unwrap_or_default();
        if !matches!(info.source, Source::State) {
            return Err(OpError::Graph(format!("assign: value {} is not a state", state.0)));
        }
        if info.ty != self.values[value.index()].ty {
            let got = &self.values[value.index()].ty;
            return Err(OpError::Graph(format!("assign: state '{name}' is {}, the value {got}", info.ty)));
        }
        if self.assigns.iter().any(|(s, _)| *s == state) {
            return Err(OpError::Graph(format!("assign: state '{name}' is assigned twice")));
        }
        self.assigns.push((state, value));
        Ok(())
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.values[value.index()].ty
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> &[usize] {
        &self.ty(value).shape
    }

    /// Names a value for printing.
    pub fn name(&mut self, value: Value, name: &str) {
        self.values[value.index()].name = Some(name.into());
    }

    /// Whether `value` is a constant tensor of ones.
    pub fn is_ones(&self, value: Value) -> bool {
        matches!(&self.values[value.index()].source, Source::Constant(data) if data.iter().all(|&x| x == 1.0))
    }

    /// The states with their names, in order of definition.
    pub fn states(&self) -> impl Iterator<Item = (&str, Value)> {
        self.of_source(|source| matches!(source, Source::State))
    }

    /// The inputs with their names, in order of definition.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Value)> {
        self.of_source(|source| matches!(source, Source::Input))
    }

    fn of_source(&self, wanted: fn(&Source) -> bool) -> impl Iterator<Item = (&str, Value)> {
        let all = self.values.iter().enumerate().filter(move |(_, v)| wanted(&v.source));
        all.map(|(i, v)| (v.name.as_deref().unwrap_or(""), Value(i as u32)))
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Work and traffic of one run.
    pub fn cost(&self) -> Cost {
        self.nodes.iter().fold(Cost::default(), |sum, node| {
            let c = self.node_cost(node);
            Cost { flop: sum.flop + c.flop, bytes: sum.bytes + c.bytes }
        })
    }

    pub(crate) fn types(&self, values: &[Value]) -> Vec<TensorType> {
        values.iter().map(|&v| self.ty(v).clone()).collect()
    }

    pub(crate) fn node_cost(&self, node: &Node) -> Cost {
        node.op.cost(&self.types(&node.inputs), &self.types(&node.outputs))
    }

    /// Whether gradients can flow into a value.
    pub(crate) fn is_real(&self, value: Value) -> bool {
        self.ty(value).dtype == DType::F32
    }
}
