//! Fusion and removal of dead nodes.
//!
//! A node whose only output is used exactly once may be merged into that consumer, when its operation says so
//! ([`Op::absorb`](crate::ops::Op::absorb)): a matrix product takes a bias and an activation into its epilogue, chains of
//! elementwise operations become one pass. The pass repeats until nothing fuses. Then what an operation can compute from its
//! output on the way ([`Op::absorb_reader`](crate::ops::Op::absorb_reader)), such as the sum of its rows, becomes another output
//! of it. Neither ever changes what a graph computes.

use std::sync::Arc;

use super::{Graph, Node, Source, Value};
use crate::ops::Op;

impl Graph {
    /// The same computation in fewer nodes: dead nodes dropped, neighbours fused.
    pub fn fuse(&self) -> Graph {
        let mut graph = self.clone();
        graph.drop_dead();
        while let Some((producer, consumer, op)) = graph.find_fusion() {
            graph.merge(producer, consumer, op);
        }
        while let Some((producer, reader, op)) = graph.find_reader() {
            graph.merge_reader(producer, reader, op);
        }
        graph
    }

    /// Removes nodes that no output and no assigned state depends on.
    pub(crate) fn drop_dead(&mut self) {
        let mut live = vec![false; self.values.len()];
        for v in self.outputs.iter().map(|o| o.1).chain(self.assigns.iter().map(|a| a.1)) {
            live[v.index()] = true;
        }
        let mut keep = vec![false; self.nodes.len()];
        for (n, node) in self.nodes.iter().enumerate().rev() {
            keep[n] = node.outputs.iter().any(|v| live[v.index()]);
            if keep[n] {
                node.inputs.iter().for_each(|v| live[v.index()] = true);
            }
        }
        let mut keep = keep.iter();
        self.nodes.retain(|_| *keep.next().expect("one flag a node"));
        self.renumber();
    }

    /// How often each value is read: by nodes, outputs and assigns.
    pub(crate) fn use_counts(&self) -> Vec<u32> {
        let mut uses = vec![0; self.values.len()];
        let read = self.nodes.iter().flat_map(|n| n.inputs.iter().copied());
        for v in read.chain(self.outputs.iter().map(|o| o.1)).chain(self.assigns.iter().map(|a| a.1)) {
            uses[v.index()] += 1;
        }
        uses
    }

    fn find_fusion(&self) -> Option<(usize, usize, Arc<dyn Op>)> {
        let uses = self.use_counts();
        for (c, consumer) in self.nodes.iter().enumerate() {
            if !consumer.op.in_place_pairs(consumer.inputs.len()).is_empty() {
                continue;
            }
            for (arg, v) in consumer.inputs.iter().enumerate() {
                let Source::Node { node: p, .. } = self.values[v.index()].source else { continue };
                let producer = &self.nodes[p];
                if producer.outputs.len() != 1 || uses[v.index()] != 1 || self.overwritten_between(p, c) {
                    continue;
                }
                let Some(op) = producer.op.absorb(consumer.op.as_ref(), arg) else { continue };
                let types = self.types(&merged_inputs(producer, consumer, arg));
                if op.infer(&types).is_ok_and(|out| out == self.types(&consumer.outputs)) {
                    return Some((p, c, op));
                }
            }
        }
        None
    }

    /// Whether a node between `p` and `c` overwrites (in place) something that `p` reads: then `p` cannot move to `c`.
    fn overwritten_between(&self, p: usize, c: usize) -> bool {
        self.nodes[p + 1..c].iter().any(|node| {
            let pairs = node.op.in_place_pairs(node.inputs.len());
            pairs.iter().any(|&(j, _)| self.nodes[p].inputs.contains(&node.inputs[j]))
        })
    }

    fn merge(&mut self, p: usize, c: usize, op: Arc<dyn Op>) {
        let link = self.nodes[p].outputs[0];
        let arg =
            self.nodes[c].inputs.iter().position(|&v| v == link).expect("the producer feeds the consumer");
        let inputs = merged_inputs(&self.nodes[p], &self.nodes[c], arg);
        let outputs = self.nodes[c].outputs.clone();
        self.nodes[c] = Node { op, inputs, outputs };
        self.nodes.remove(p);
        self.renumber();
    }

    /// A node, one that reads its first output, and the operation that does both.
    fn find_reader(&self) -> Option<(usize, usize, Arc<dyn Op>)> {
        for (r, reader) in self.nodes.iter().enumerate() {
            let [v] = reader.inputs[..] else { continue };
            let Source::Node { node: p } = self.values[v.index()].source else { continue };
            let producer = &self.nodes[p];
            if producer.outputs[0] != v {
                continue;
            }
            let Some(op) = producer.op.absorb_reader(reader.op.as_ref()) else { continue };
            let outputs = self.types(&[&producer.outputs[..], &reader.outputs].concat());
            if op.infer(&self.types(&producer.inputs)).is_ok_and(|out| out == outputs) {
                return Some((p, r, op));
            }
        }
        None
    }

    fn merge_reader(&mut self, p: usize, r: usize, op: Arc<dyn Op>) {
        let reader = self.nodes.remove(r);
        self.nodes[p].op = op;
        self.nodes[p].outputs.extend(reader.outputs);
        self.renumber();
    }

    /// Makes every value's source name its node's present position.
    fn renumber(&mut self) {
        for (n, node) in self.nodes.iter().enumerate() {
            for v in &node.outputs {
                self.values[v.index()].source = Source::Node { node: n };
            }
        }
    }
}

fn merged_inputs(producer: &Node, consumer: &Node, arg: usize) -> Vec<Value> {
    let rest = consumer.inputs.iter().enumerate().filter(|&(i, _)| i != arg).map(|(_, &v)| v);
    producer.inputs.iter().copied().chain(rest).collect()
}
