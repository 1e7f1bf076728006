//! Memory planning: from a graph to steps over storages.
//!
//! Inputs, constants and states have storages of their own. Values that nodes make share one arena: each lives from its
//! node to its last reader, and gets the lowest offset at which no value alive at the same time lies (largest first). An
//! in-place output takes its input's storage where nobody reads the input later; otherwise the input is copied first.
//! A state's new value is computed in the state's storage where it can be, else copied there at the end of the run.

use std::fmt;
use std::sync::Arc;

use super::{Graph, Source, Value};
use crate::ops::{Op, OpError, TensorType};

/// Alignment of every tensor, in bytes: what vector loads and coalescing like.
pub(crate) const ALIGN: usize = 256;

/// What a storage holds.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    Input {
        name: String,
    },
    Constant(Arc<[f32]>),
    State {
        name: String,
    },
    /// Bytes `offset..` of the arena.
    Temp {
        offset: usize,
    },
}

/// A tensor's place: a storage and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub usize);

#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Copies that precede the operation: (from, to).
    pub copies: Vec<(Place, Place)>,
    /// The operation; `None` for the copies at the end.
    pub op: Option<Arc<dyn Op>>,
    pub inputs: Vec<Place>,
    pub outputs: Vec<Place>,
    pub workspace: Option<Place>,
}

/// A graph with its memory laid out: what a device executes. Bind it with [`Executor::new`](super::Executor::new).
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) storages: Vec<(Storage, TensorType)>,
    pub(crate) steps: Vec<Step>,
    pub(crate) outputs: Vec<(String, Place)>,
    pub(crate) arena_bytes: usize,
    summary: PlanSummary,
}

/// What a plan needs, known before it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlanSummary {
    /// Operations a run executes.
    pub nodes: usize,
    /// Floating-point operations of a run.
    pub flop: u64,
    /// Bytes a run must move at least.
    pub bytes: u64,
    /// Memory shared by the values of a run.
    pub arena_bytes: usize,
    /// Memory of the states.
    pub state_bytes: usize,
    /// Memory of inputs and constants.
    pub input_bytes: usize,
}

impl PlanSummary {
    /// All memory the plan needs on the device, but for what kernels of narrower products want there
    /// ([`Op::scratch`]).
    pub fn peak_bytes(&self) -> usize {
        self.arena_bytes + self.state_bytes + self.input_bytes
    }
}

impl fmt::Display for PlanSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |b: usize| b as f64 / (1024.0 * 1024.0);
        write!(
            f,
            "{} nodes, {:.3} MFLOP and {:.3} MB moved a run, {:.2} MiB peak memory (states {:.2}, arena {:.2}, inputs {:.2})",
            self.nodes,
            self.flop as f64 / 1e6,
            self.bytes as f64 / 1e6,
            mib(self.peak_bytes()),
            mib(self.state_bytes),
            mib(self.arena_bytes),
            mib(self.input_bytes)
        )
    }
}

/// A value of the arena: bytes, first and last step that touch it.
struct Life {
    storage: usize,
    bytes: usize,
    from: usize,
    to: usize,
}

impl Plan {
    /// Lays out `graph` as it is (call [`Graph::fuse`] first). Error: a state is assigned the old value of another
    /// assigned state (copy it first).
    pub fn new(graph: &Graph) -> Result<Plan, OpError> {
        let mut graph = graph.clone();
        graph.drop_dead();
        Planner::new(&graph)?.plan()
    }

    /// Whether a run writes to `place`.
    pub(crate) fn writes(&self, place: Place) -> bool {
        let into = |step: &Step| step.outputs.contains(&place) || step.copies.iter().any(|c| c.1 == place);
        self.steps.iter().any(into)
    }

    /// Work and memory.
    pub fn summary(&self) -> PlanSummary {
        self.summary
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    storages: Vec<(Storage, TensorType)>,
    /// Storage of each value that has one.
    place: Vec<Option<Place>>,
    /// The last node that reads each value; `usize::MAX` when it must survive the run.
    last: Vec<usize>,
    /// The state that each value is assigned to.
    target: Vec<Option<Value>>,
    lives: Vec<Life>,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph) -> Result<Planner<'a>, OpError> {
        let n = graph.values.len();
        let mut last = vec![0; n];
        for (i, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|v| last[v.index()] = i);
        }
        for (_, v) in &graph.outputs {
            last[v.index()] = usize::MAX;
        }
        let mut target = vec![None; n];
        for &(state, value) in &graph.assigns {
            last[value.index()] = usize::MAX;
            let info = &graph.values[value.index()];
            if matches!(info.source, Source::State)
                && value != state
                && graph.assigns.iter().any(|a| a.0 == value)
            {
                let name = info.name.as_deref().unwrap_or("");
                return Err(OpError::Graph(format!(
                    "assign: the old value of state '{name}' needs a copy() first"
                )));
            }
            target[value.index()] = Some(state);
        }
        Ok(Planner { graph, storages: vec![], place: vec![None; n], last, target, lives: vec![] })
    }

    fn store(&mut self, storage: Storage, ty: TensorType) -> Place {
        self.storages.push((storage, ty));
        Place(self.storages.len() - 1)
    }

    fn temp(&mut self, ty: TensorType, from: usize, to: usize) -> Place {
        let place = self.store(Storage::Temp { offset: 0 }, ty.clone());
        self.lives.push(Life { storage: place.0, bytes: ty.bytes().next_multiple_of(ALIGN), from, to });
        place
    }

    fn plan(mut self) -> Result<Plan, OpError> {
        let graph = self.graph;
        let uses = graph.use_counts();
        for (i, info) in graph.values.iter().enumerate() {
            let name = info.name.clone().unwrap_or_default();
            let storage = match &info.source {
                Source::Input => Storage::Input { name },
                Source::State => Storage::State { name },
                Source::Constant(data) if uses[i] > 0 => Storage::Constant(data.clone()),
                _ => continue,
            };
            self.place[i] = Some(self.store(storage, info.ty.clone()));
        }
        let mut steps = Vec::with_capacity(graph.nodes.len() + 1);
        for n in 0..graph.nodes.len() {
            steps.push(self.step(n));
        }
        let end: Vec<(Place, Place)> = graph
            .assigns
            .iter()
            .map(|&(state, value)| (self.at(value), self.at(state)))
            .filter(|(from, to)| from != to)
            .collect();
        if !end.is_empty() {
            steps.push(Step { copies: end, op: None, inputs: vec![], outputs: vec![], workspace: None });
        }
        let outputs = graph.outputs.iter().map(|(name, v)| (name.clone(), self.at(*v))).collect();
        let arena_bytes = self.lay_out();
        let cost = graph.cost();
        let total = |f: fn(&Storage) -> bool| {
            self.storages.iter().filter(|s| f(&s.0)).map(|s| s.1.bytes().next_multiple_of(ALIGN)).sum()
        };
        let summary = PlanSummary {
            nodes: graph.nodes.len(),
            flop: cost.flop,
            bytes: cost.bytes,
            arena_bytes,
            state_bytes: total(|s| matches!(s, Storage::State { .. })),
            input_bytes: total(|s| matches!(s, Storage::Input { .. } | Storage::Constant(_))),
        };
        Ok(Plan { storages: self.storages, steps, outputs, arena_bytes, summary })
    }

    fn at(&self, value: Value) -> Place {
        self.place[value.index()].expect("values are planned before they are read")
    }

    fn step(&mut self, n: usize) -> Step {
        let graph = self.graph;
        let node = &graph.nodes[n];
        let inputs: Vec<Place> = node.inputs.iter().map(|&v| self.at(v)).collect();
        let mut copies = vec![];
        for (j, k) in node.op.in_place_pairs(node.inputs.len()) {
            let (from, to) = (node.inputs[j], node.outputs[k]);
            let reusable = match graph.values[from.index()].source {
                // The state's memory may be overwritten when this is the state's new value and nobody reads the old later.
                Source::State => self.target[to.index()] == Some(from) && self.last[from.index()] <= n,
                Source::Node { .. } => self.last[from.index()] <= n,
                Source::Input | Source::Constant(_) => false,
            } && node.inputs.iter().filter(|&&v| v == from).count() == 1;
            if reusable {
                self.place[to.index()] = Some(inputs[j]);
                self.extend(inputs[j], self.last[to.index()].max(n));
            } else {
                let place = self.temp(graph.ty(to).clone(), n, self.last[to.index()].max(n));
                self.place[to.index()] = Some(place);
                copies.push((inputs[j], place));
            }
        }
        for &v in &node.outputs {
            if self.place[v.index()].is_none() {
                let place = self.temp(graph.ty(v).clone(), n, self.last[v.index()].max(n));
                self.place[v.index()] = Some(place);
            }
        }
        let outputs: Vec<Place> = node.outputs.iter().map(|&v| self.at(v)).collect();
        let words = node.op.workspace(&graph.types(&node.inputs), &graph.types(&node.outputs));
        let workspace = (words > 0).then(|| self.temp(TensorType::f32([words]), n, n));
        Step { copies, op: Some(node.op.clone()), inputs, outputs, workspace }
    }

    /// A storage taken over by an in-place output lives as long as that output.
    fn extend(&mut self, place: Place, to: usize) {
        if let Some(life) = self.lives.iter_mut().find(|l| l.storage == place.0) {
            life.to = life.to.max(to);
        }
    }

    /// Gives every temporary its offset, largest first, each at the lowest gap among those alive at the same time.
    fn lay_out(&mut self) -> usize {
        self.lives.sort_by_key(|l| (std::cmp::Reverse(l.bytes), l.from, l.storage));
        let mut placed: Vec<(usize, usize)> = vec![]; // (index into lives, offset)
        let mut top = 0;
        for i in 0..self.lives.len() {
            let life = &self.lives[i];
            let mut taken: Vec<(usize, usize)> = placed
                .iter()
                .filter(|(j, _)| self.lives[*j].from <= life.to && life.from <= self.lives[*j].to)
                .map(|&(j, offset)| (offset, offset + self.lives[j].bytes))
                .collect();
            taken.sort_unstable();
            let mut offset = 0;
            for (start, end) in taken {
                if offset + life.bytes <= start {
                    break;
                }
                offset = offset.max(end);
            }
            top = top.max(offset + life.bytes);
            self.storages[life.storage].0 = Storage::Temp { offset };
            placed.push((i, offset));
        }
        top
    }
}
