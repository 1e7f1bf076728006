//! Reverse-mode differentiation: appends the gradient's nodes to the graph.
//!
//! Nodes are visited from last to first; each node whose outputs have gradients appends the operations of its
//! vector-Jacobian product through [`Vjp`]. Gradients of a value that is used several times are added in a fixed order,
//! so the same graph always gives the same nodes.

use super::{Graph, Source, Value};
use crate::ops::OpError;

/// What [`Op::vjp`](crate::ops::Op::vjp) sees: the node's operands, the gradients of its outputs, and the graph to append to.
pub struct Vjp<'a> {
    graph: &'a mut Graph,
    node: usize,
    grads: &'a mut Vec<Option<Value>>,
    needed: &'a [bool],
}

impl Vjp<'_> {
    /// Input `i` of the node.
    pub fn input(&self, i: usize) -> Value {
        self.graph.nodes[self.node].inputs[i]
    }

    /// Number of inputs of the node.
    pub fn inputs(&self) -> usize {
        self.graph.nodes[self.node].inputs.len()
    }

    /// Output `k` of the node.
    pub fn output(&self, k: usize) -> Value {
        self.graph.nodes[self.node].outputs[k]
    }

    /// The gradient of the loss with respect to output `k`, if the loss depends on it.
    pub fn grad(&self, k: usize) -> Option<Value> {
        self.grads[self.output(k).index()]
    }

    /// Whether anybody asked for the gradient of input `i`.
    pub fn needs(&self, i: usize) -> bool {
        self.needed[self.input(i).index()]
    }

    /// The graph, to append operations.
    pub fn graph(&mut self) -> &mut Graph {
        self.graph
    }

    /// Adds `gradient` to the gradient of input `i`.
    pub fn add(&mut self, i: usize, gradient: Value) -> Result<(), OpError> {
        let input = self.input(i);
        if self.graph.ty(gradient) != self.graph.ty(input) {
            let (got, want) = (self.graph.ty(gradient).clone(), self.graph.ty(input).clone());
            return Err(OpError::Graph(format!("gradient of type {got} for a value of type {want}")));
        }
        let sum = match self.grads[input.index()] {
            None => gradient,
            Some(old) => self.graph.add(old, gradient)?,
        };
        self.grads[input.index()] = Some(sum);
        Ok(())
    }
}

impl Graph {
    /// Appends the gradients of the scalar `loss` with respect to each of `wrt`, in that order.
    ///
    /// Errors: `loss` is not an `f32` scalar; it does not depend on a value of `wrt`; an operation between them has no
    /// gradient.
    pub fn gradients(&mut self, loss: Value, wrt: &[Value]) -> Result<Vec<Value>, OpError> {
        if self.ty(loss).len() != 1 || !self.is_real(loss) {
            return Err(OpError::Graph(format!(
                "gradients: the loss must be a scalar, it is {}",
                self.ty(loss)
            )));
        }
        let shape = self.shape(loss).to_vec();
        let one = self.constant(&[1.0], &shape)?;
        self.vjps(&[(loss, one)], wrt)
    }

    /// Appends the vector-Jacobian products: for each of `wrt`, the gradient of the sum over `seeds` of
    /// <value, cotangent>.
    pub fn vjps(&mut self, seeds: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Value>, OpError> {
        let forward = self.nodes.len();
        // A value needs a gradient when it is asked for, or when a node computes it from one that needs it.
        let mut needed = vec![false; self.values.len()];
        for v in wrt {
            needed[v.index()] = true;
        }
        for node in &self.nodes {
            let any = node.inputs.iter().any(|v| needed[v.index()]);
            for v in &node.outputs {
                needed[v.index()] |= any && self.values[v.index()].ty.dtype == crate::device::DType::F32;
            }
        }
        let mut grads: Vec<Option<Value>> = vec![None; self.values.len()];
        for &(value, cotangent) in seeds {
            grads[value.index()] = Some(cotangent);
        }
        for n in (0..forward).rev() {
            let node = &self.nodes[n];
            let reached = node.outputs.iter().any(|v| grads[v.index()].is_some());
            let wanted = node.inputs.iter().any(|v| needed[v.index()]);
            if reached && wanted {
                let op = node.op.clone();
                let mut vjp = Vjp { graph: self, node: n, grads: &mut grads, needed: &needed };
                op.vjp(&mut vjp)?;
            }
        }
        wrt.iter()
            .map(|v| {
                grads[v.index()].ok_or_else(|| {
                    let info = &self.values[v.index()];
                    let kind = match info.source {
                        Source::State => "state",
                        Source::Input => "input",
                        Source::Constant(_) => "constant",
                        Source::Node { .. } => "value",
                    };
                    let name = info.name.clone().unwrap_or_else(|| format!("%{}", v.0));
                    OpError::Graph(format!("gradients: the loss does not depend on {kind} '{name}'"))
                })
            })
            .collect()
    }
}
