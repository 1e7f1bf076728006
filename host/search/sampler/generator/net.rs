//! The network: an encoder, a predictor and a decoder that share one latent space, as graphs.
//!
//! With `B` sequences of `T` tokens; every input row is a one for the token and a one for the position
//! ([`Vocabulary::write_input`](super::tokens::Vocabulary::write_input)), so a product with the embedding's table is a lookup of
//! both, and differentiable as it is.
//!
//! ```text
//! encoder    h_t = LSTM(embed(token_t), h_{t-1})           m_t = h_t / |h_t|           [T, B, H]
//! latent     e = mean_t m_t / |mean_t m_t|                                             [B, H]
//! predictor  y = sigmoid(v . relu(W e + b) + c)                                        [B, 1]
//! decoder    d_t = LSTM(embed(token_{t-1}), d_{t-1})       d_{-1} = cell_{-1} = e      [T, B, H]
//! attention  a_t = softmax_s((Q d_t) . m_s)                c_t = sum_s a_ts m_s        (Luong et al. 2015, "general")
//! output     p_t = softmax(O tanh(U c_t + V d_t + b) + o + mask_t)                     [T, B, tokens]
//! loss       share * sum_b weight_b (y_b - target_b)^2 + (1 - share) * mean_tb -ln p_t[token_t]
//! ```
//!
//! LSTM (Hochreiter and Schmidhuber 1997), gates i, f, g, o from `W_x x + W_h h + b`:
//! `cell = sigmoid(f) cell + sigmoid(i) tanh(g)`, `h = sigmoid(o) tanh(cell)`.
//!
//! Rows are ordered position by position (`t B + b`), so that a step of an LSTM reads consecutive rows.

use crate::graph::{Graph, Value};
use crate::nn::Parameter;
use crate::ops::optim::Optimizer;
use crate::ops::random::Init;
use crate::ops::{OpError, TensorType};

/// Added to a squared length before its root: keeps the gradient finite at zero.
const TINY: f32 = 1e-12;

/// Sizes of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// Different tokens.
    pub tokens: usize,
    /// Tokens of a sequence, `T`.
    pub length: usize,
    /// Elements of a token's embedding.
    pub embed: usize,
    /// Units of the LSTMs and elements of the latent, `H`.
    pub hidden: usize,
    /// Hidden units of the predictor.
    pub predictor: usize,
}

/// The parameters as values of a graph.
struct Weights {
    embedding: Value,
    encoder: Lstm,
    decoder: Lstm,
    query: Value,
    context: (Value, Value),
    attended: Value,
    output: (Value, Value),
    predictor: [(Value, Value); 2],
}

struct Lstm {
    weight_ih: Value,
    weight_hh: Value,
    bias: Value,
}

/// Hidden state and cell of an LSTM, `[B, H]` each.
type Memory = (Value, Value);

/// The loss as values of a graph.
pub struct LossValues {
    /// The parameters, in the order of [`Net::parameters`].
    pub parameters: Vec<Value>,
    /// The loss, `[1]`.
    pub loss: Value,
}

impl Net {
    /// Elements of an input row.
    pub fn width(&self) -> usize {
        self.tokens + self.length
    }

    /// The parameters in order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (h, e) = (self.hidden, self.embed);
        let mut out = vec![];
        let mut add = |name: &str, shape: &[usize], fan_in: usize, init: Init| {
            let fan_out = shape[0];
            out.push(Parameter { name: name.into(), shape: shape.to_vec(), init, fan_in, fan_out });
        };
        add("embedding", &[self.width(), e], e, Init::Torch);
        for part in ["encoder", "decoder"] {
            add(&format!("{part}.weight_ih"), &[4 * h, e], h, Init::Torch);
            add(&format!("{part}.weight_hh"), &[4 * h, h], h, Init::Torch);
            add(&format!("{part}.bias"), &[4 * h], h, Init::Torch);
        }
        add("attention.query", &[h, h], h, Init::Torch);
        add("attention.context", &[h, h], h, Init::Torch);
        add("attention.bias", &[h], h, Init::Torch);
        add("attention.hidden", &[h, h], h, Init::Torch);
        add("output.weight", &[self.tokens, h], h, Init::Torch);
        add("output.bias", &[self.tokens], h, Init::Torch);
        // The elements of a unit vector are small: as if there were one input.
        add("predictor.0.weight", &[self.predictor, h], 1, Init::Torch);
        add("predictor.0.bias", &[self.predictor], h, Init::Torch);
        add("predictor.1.weight", &[1, self.predictor], self.predictor, Init::Torch);
        add("predictor.1.bias", &[1], self.predictor, Init::Torch);
        out
    }

    fn states(&self, g: &mut Graph) -> Result<Vec<Value>, OpError> {
        self.parameters().into_iter().map(|p| g.state(&p.name, TensorType::f32(p.shape))).collect()
    }

    fn weights(&self, states: &[Value]) -> Weights {
        let s = states;
        let lstm = |at: usize| Lstm { weight_ih: s[at], weight_hh: s[at + 1], bias: s[at + 2] };
        Weights {
            embedding: s[0],
            encoder: lstm(1),
            decoder: lstm(4),
            query: s[7],
            context: (s[8], s[9]),
            attended: s[10],
            output: (s[11], s[12]),
            predictor: [(s[13], s[14]), (s[15], s[16])],
        }
    }

    /// A graph whose run initialises every parameter from `seed`; each has a stream of its own.
    pub fn init_graph(&self, seed: u64) -> Result<Graph, OpError> {
        let mut g = Graph::new();
        let states = self.states(&mut g)?;
        for (stream, (p, state)) in self.parameters().iter().zip(states).enumerate() {
            let value = g.init(&p.shape, p.init, p.fan_in, p.fan_out, seed, stream as u32)?;
            g.assign(state, value)?;
        }
        Ok(g)
    }

    /// One training step on `batch` sequences: the inputs of [`loss`](Self::loss) and `hyper` `[8]`; output `loss`. Gradients are
    /// clipped to the global norm `clip`.
    pub fn training(&self, batch: usize, share: f32, clip: f32) -> Result<Graph, OpError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let LossValues { parameters, loss } = self.loss(g, batch, share)?;
        let hyper = g.input("hyper", TensorType::f32([8]))?;
        let gradients = g.gradients(loss, &parameters)?;
        let scale = g.global_norm(&gradients, clip)?.0;
        g.optimizer_step(&Optimizer::adam(), &parameters, &gradients, hyper, Some(scale))?;
        g.output("loss", loss);
        Ok(graph)
    }

    /// The loss of `batch` sequences, of which `share` is the predictor's. Inputs: `x` and `previous` `[T B, width]` (each
    /// token, and the one before it, the start at first), `mask` `[T B, tokens]`, `labels` `u32[T B]`, `target` and `weight`
    /// `[B, 1]`.
    pub fn loss(&self, g: &mut Graph, batch: usize, share: f32) -> Result<LossValues, OpError> {
        let (rows, width) = (self.length * batch, self.width());
        let parameters = self.states(g)?;
        let w = self.weights(&parameters);
        let x = g.input("x", TensorType::f32([rows, width]))?;
        let previous = g.input("previous", TensorType::f32([rows, width]))?;
        let mask = g.input("mask", TensorType::f32([rows, self.tokens]))?;
        let labels = g.input("labels", TensorType::u32([rows]))?;
        let target = g.input("target", TensorType::f32([batch, 1]))?;
        let weight = g.input("weight", TensorType::f32([batch, 1]))?;

        let memory = self.encode(g, &w, x, batch)?;
        let latent = self.latent(g, memory, batch)?;
        let y = self.predict(g, &w, latent)?;
        let error = g.sub(y, target)?;
        let error = g.square(error)?;
        let error = g.mul(error, weight)?;
        let regression = g.sum_all(error)?;

        let table = g.matmul_t(w.decoder.weight_ih, w.embedding, false, true)?;
        let mut state = (latent, latent);
        let mut outputs = vec![];
        for t in 0..self.length {
            let row = g.slice_rows(previous, t * batch, batch)?;
            state = self.lstm(g, &w.decoder, table, row, Some(state))?;
            outputs.push(state.0);
        }
        let outputs = concat_rows(g, &outputs)?;
        let keys = self.by_sequence(g, memory, batch)?;
        let logits = self.attend(g, &w, outputs, keys, batch)?;
        let logits = g.add(logits, mask)?;
        let reconstruction = g.cross_entropy(logits, labels, 0.0)?;

        let regression = g.scale(regression, share)?;
        let reconstruction = g.scale(reconstruction, 1.0 - share)?;
        let loss = g.add(regression, reconstruction)?;
        Ok(LossValues { parameters, loss })
    }

    /// The predictor on `batch` sequences. Input `x` `[T B, width]`; output `prediction` `[B, 1]`.
    pub fn prediction(&self, batch: usize) -> Result<Graph, OpError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let states = self.states(g)?;
        let w = self.weights(&states);
        let x = g.input("x", TensorType::f32([self.length * batch, self.width()]))?;
        let memory = self.encode(g, &w, x, batch)?;
        let latent = self.latent(g, memory, batch)?;
        let y = self.predict(g, &w, latent)?;
        g.output("prediction", y);
        Ok(graph)
    }

    /// The step in latent space, ready to be decoded. With `u_t` the gradient of a sequence's prediction with respect to its
    /// encoder output `m_t`, scaled to unit length:
    ///
    /// ```text
    /// m_t' = normalise(m_t + lambda u_t)        e' = normalise(mean_t m_t')
    /// ```
    ///
    /// Inputs `x` `[T B, width]` and `lambda` `[1]`; the states `decode.memory` `[B, T, H]`, `decode.hidden` and `decode.cell`
    /// `[B, H]` are set to where decoding starts. With lambda 0, that is the sequence itself.
    pub fn improvement(&self, batch: usize) -> Result<Graph, OpError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let states = self.states(g)?;
        let w = self.weights(&states);
        let x = g.input("x", TensorType::f32([self.length * batch, self.width()]))?;
        let lambda = g.input("lambda", TensorType::f32([1]))?;
        let memory = self.encode(g, &w, x, batch)?;
        let latent = self.latent(g, memory, batch)?;
        let y = self.predict(g, &w, latent)?;
        let sum = g.sum_all(y)?;
        let gradient = g.gradients(sum, &[memory])?[0];
        let direction = normalise(g, gradient)?;
        let step = g.scale_by(direction, lambda)?;
        let moved = g.add(memory, step)?;
        let moved = normalise(g, moved)?;
        let latent = self.latent(g, moved, batch)?;
        let keys = self.by_sequence(g, moved, batch)?;
        for (name, value) in [("memory", keys), ("hidden", latent), ("cell", latent)] {
            let ty = g.ty(value).clone();
            let state = g.state(&format!("decode.{name}"), ty)?;
            let value = if name == "cell" { g.copy(value)? } else { value };
            g.assign(state, value)?;
        }
        Ok(graph)
    }

    /// One step of the decoder from the states that [`improvement`](Self::improvement) sets. Input `previous` `[B, width]`;
    /// output `logits` `[B, tokens]`, not masked.
    pub fn decoding(&self, batch: usize) -> Result<Graph, OpError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let (t, h) = (self.length, self.hidden);
        let states = self.states(g)?;
        let w = self.weights(&states);
        let previous = g.input("previous", TensorType::f32([batch, self.width()]))?;
        let memory = g.state("decode.memory", TensorType::f32([batch, t, h]))?;
        let hidden = g.state("decode.hidden", TensorType::f32([batch, h]))?;
        let cell = g.state("decode.cell", TensorType::f32([batch, h]))?;
        let table = g.matmul_t(w.decoder.weight_ih, w.embedding, false, true)?;
        let next = self.lstm(g, &w.decoder, table, previous, Some((hidden, cell)))?;
        let logits = self.attend(g, &w, next.0, memory, batch)?;
        g.assign(hidden, next.0)?;
        g.assign(cell, next.1)?;
        g.output("logits", logits);
        Ok(graph)
    }

    /// The encoder's normalised outputs `[T B, H]` for `x` `[T B, width]`.
    fn encode(&self, g: &mut Graph, w: &Weights, x: Value, batch: usize) -> Result<Value, OpError> {
        let table = g.matmul_t(w.encoder.weight_ih, w.embedding, false, true)?;
        let mut state = None;
        if self.length == 1 {
            // The weights of the state before are used, so that they have a gradient: zero.
            let zeros = g.fill(0.0, &[batch, self.hidden])?;
            state = Some((zeros, zeros));
        }
        let mut outputs = vec![];
        for t in 0..self.length {
            let row = g.slice_rows(x, t * batch, batch)?;
            let next = self.lstm(g, &w.encoder, table, row, state)?;
            outputs.push(next.0);
            state = Some(next);
        }
        let outputs = concat_rows(g, &outputs)?;
        normalise(g, outputs)
    }

    /// The latent `[B, H]` of encoder outputs `[T B, H]`.
    fn latent(&self, g: &mut Graph, memory: Value, batch: usize) -> Result<Value, OpError> {
        let stacked = g.reshape(memory, &[self.length, batch, self.hidden])?;
        let mean = g.mean(stacked, 0)?;
        normalise(g, mean)
    }

    /// The prediction `[B, 1]`, in (0, 1).
    fn predict(&self, g: &mut Graph, w: &Weights, latent: Value) -> Result<Value, OpError> {
        let [(w0, b0), (w1, b1)] = w.predictor;
        let hidden = g.linear(latent, w0, Some(b0))?;
        let hidden = g.relu(hidden)?;
        let y = g.linear(hidden, w1, Some(b1))?;
        g.sigmoid(y)
    }

    /// Rows `[T B, H]`, position by position, as `[B, T, H]`.
    fn by_sequence(&self, g: &mut Graph, rows: Value, batch: usize) -> Result<Value, OpError> {
        let length = g.shape(rows)[0] / batch;
        let stacked = g.reshape(rows, &[length, batch, self.hidden])?;
        g.permute(stacked, &[1, 0, 2])
    }

    /// The logits `[S B, tokens]` of decoder outputs `[S B, H]` that attend to `keys` `[B, T, H]`.
    fn attend(
        &self,
        g: &mut Graph,
        w: &Weights,
        outputs: Value,
        keys: Value,
        batch: usize,
    ) -> Result<Value, OpError> {
        let rows = g.shape(outputs)[0];
        let query = g.matmul_t(outputs, w.query, false, true)?;
        let query = self.by_sequence(g, query, batch)?;
        let scores = g.batch_matmul(query, keys, false, true)?;
        let shares = g.softmax(scores)?;
        let context = g.batch_matmul(shares, keys, false, false)?;
        let context = g.permute(context, &[1, 0, 2])?;
        let context = g.reshape(context, &[rows, self.hidden])?;
        let mixed = g.linear(context, w.context.0, Some(w.context.1))?;
        let mixed = g.addmm(mixed, (outputs, false), (w.attended, true), 1.0, 1.0)?;
        let mixed = g.tanh(mixed)?;
        g.linear(mixed, w.output.0, Some(w.output.1))
    }

    /// One step of an LSTM on input rows `[B, width]`; `table` `[4 H, width]` is the embedding through the input weights.
    /// Without a state before it, that is zero.
    fn lstm(
        &self,
        g: &mut Graph,
        w: &Lstm,
        table: Value,
        row: Value,
        before: Option<Memory>,
    ) -> Result<Memory, OpError> {
        let (batch, h) = (g.shape(row)[0], self.hidden);
        let mut gates = g.linear(row, table, Some(w.bias))?;
        if let Some((hidden, _)) = before {
            gates = g.addmm(gates, (hidden, false), (w.weight_hh, true), 1.0, 1.0)?;
        }
        let gates = g.reshape(gates, &[batch, 4, h])?;
        let gates = g.permute(gates, &[1, 0, 2])?;
        let gates = g.reshape(gates, &[4 * batch, h])?;
        let gate = |g: &mut Graph, k: usize| g.slice_rows(gates, k * batch, batch);
        let i = gate(g, 0)?;
        let i = g.sigmoid(i)?;
        let new = gate(g, 2)?;
        let new = g.tanh(new)?;
        let mut cell = g.mul(i, new)?;
        if let Some((_, old)) = before {
            let f = gate(g, 1)?;
            let f = g.sigmoid(f)?;
            let kept = g.mul(f, old)?;
            cell = g.add(kept, cell)?;
        }
        let o = gate(g, 3)?;
        let o = g.sigmoid(o)?;
        let squashed = g.tanh(cell)?;
        let hidden = g.mul(o, squashed)?;
        Ok((hidden, cell))
    }
}

/// Rows scaled to unit length; a row of zeros stays.
fn normalise(g: &mut Graph, x: Value) -> Result<Value, OpError> {
    let axis = g.shape(x).len() - 1;
    let n = g.shape(x)[axis];
    let squares = g.square(x)?;
    let sum = g.sum(squares, axis)?;
    let sum = g.add_scalar(sum, TINY)?;
    let length = g.sqrt(sum)?;
    let length = g.expand(length, axis, n)?;
    g.div(x, length)
}

/// The rows of all parts, one part after the other: halves are joined first, so that what moves grows with the logarithm of
/// their number.
fn concat_rows(g: &mut Graph, parts: &[Value]) -> Result<Value, OpError> {
    let [part] = parts else {
        let (left, right) = parts.split_at(parts.len() / 2);
        let (left, right) = (concat_rows(g, left)?, concat_rows(g, right)?);
        let (n, m) = (g.shape(left)[0], g.shape(right)[0]);
        let left = g.pad_rows(left, 0, n + m)?;
        let right = g.pad_rows(right, n, n + m)?;
        return g.add(left, right);
    };
    Ok(*part)
}
