//! Graphs as text and as Graphviz.

use std::fmt::{self, Write};

use super::{Graph, Node, Source, Value};

impl Graph {
    fn label(&self, v: Value) -> String {
        match &self.values[v.index()].name {
            Some(name) => format!("%{} '{name}'", v.0),
            None => format!("%{}", v.0),
        }
    }

    fn call(&self, node: &Node) -> String {
        let args: Vec<String> = node.inputs.iter().map(|v| format!("%{}", v.0)).collect();
        let attributes = node.op.attributes();
        let space = if attributes.is_empty() { "" } else { " " };
        format!("{}({}){space}{attributes}", node.op.name(), args.join(", "))
    }

    /// The graph in Graphviz's language: `dot -Tsvg`.
    pub fn to_dot(&self) -> String {
        let mut s = String::from("digraph {\n  rankdir=TB; node [shape=box, fontname=monospace];\n");
        let uses = self.use_counts();
        for (i, info) in self.values.iter().enumerate() {
            let kind = match info.source {
                Source::Input => "input",
                Source::State => "state",
                Source::Constant(_) => "constant",
                Source::Node { .. } => continue,
            };
            if uses[i] > 0 {
                let name = info.name.as_deref().unwrap_or("");
                let label = escape(&format!("{kind} {name}\n{}", info.ty));
                let _ = writeln!(s, "  v{i} [label=\"{label}\", style=rounded];");
            }
        }
        let from = |v: &Value| match self.values[v.index()].source {
            Source::Node { node, .. } => format!("n{node}"),
            _ => format!("v{}", v.0),
        };
        for (n, node) in self.nodes.iter().enumerate() {
            let label = escape(&format!("{}\n{}", node.op.name(), node.op.attributes()));
            let _ = writeln!(s, "  n{n} [label=\"{label}\"];");
            for v in &node.inputs {
                let ty = escape(&self.ty(*v).to_string());
                let _ = writeln!(s, "  {} -> n{n} [label=\"{ty}\"];", from(v));
            }
        }
        for (i, (name, v)) in self.outputs.iter().enumerate() {
            let name = escape(name);
            let _ = writeln!(s, "  o{i} [label=\"output {name}\", style=rounded];\n  {} -> o{i};", from(v));
        }
        for (state, v) in &self.assigns {
            let _ = writeln!(s, "  {} -> v{} [style=dashed, constraint=false];", from(v), state.0);
        }
        s.push_str("}\n");
        s
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl fmt::Display for Graph {
    /// One line a value, in order: inputs, states, nodes with their cost, then outputs and assigned states.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uses = self.use_counts();
        for (i, info) in self.values.iter().enumerate() {
            let kind = match &info.source {
                Source::Input => "input".to_string(),
                Source::State => "state".to_string(),
                Source::Constant(data) if data.len() == 1 => format!("constant {}", data[0]),
                Source::Constant(_) => "constant".to_string(),
                Source::Node { .. } => continue,
            };
            if uses[i] > 0 || !matches!(info.source, Source::Constant(_)) {
                writeln!(f, "{} = {kind}: {}", self.label(Value(i as u32)), info.ty)?;
            }
        }
        for node in &self.nodes {
            let outs: Vec<String> =
                node.outputs.iter().map(|&v| format!("{}: {}", self.label(v), self.ty(v))).collect();
            let cost = self.node_cost(node);
            writeln!(f, "{} = {}  # {} FLOP, {} B", outs.join(", "), self.call(node), cost.flop, cost.bytes)?;
        }
        for (name, v) in &self.outputs {
            writeln!(f, "output '{name}' = %{}", v.0)?;
        }
        for (state, v) in &self.assigns {
            writeln!(f, "{} <- %{}", self.label(*state), v.0)?;
        }
        Ok(())
    }
}
