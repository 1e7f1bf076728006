//! The network on a device: training, predicting, and decoding from steps in latent space.
//!
//! A [`Model`] belongs to one vocabulary and binds four plans of fixed batch size over one set of states: the training step,
//! the predictor, the step in latent space and the decoder's step. What is asked for more sequences goes in chunks, the last
//! one filled up with repetitions.

use super::Options;
use super::net::Net;
use super::tokens::{ABSENT, Decoding, START, Token, Vocabulary};
use crate::device::{Device, DeviceError};
use crate::graph::{Executor, InputId, OutputId, Plan, States};
use crate::ops::TensorType;
use crate::ops::optim::Optimizer;
use crate::search::rng::Rng;
use crate::search::space::Point;
use crate::train::TrainError;

/// Sequences that are predicted or decoded at a time.
const CHUNK: usize = 64;

/// A sequence to train on.
#[derive(Clone, Debug)]
pub struct Example {
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// What the predictor shall say, in [0, 1]; `None`: the sequence trains encoder and decoder only.
    pub target: Option<f32>,
}

/// How a stretch of training goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Steps.
    pub steps: usize,
    /// Learning rate at first; it falls to zero along half a cosine.
    pub learning_rate: f64,
}

/// A bound network; see the module's docs.
pub struct Model {
    vocabulary: Vocabulary,
    net: Net,
    states: States,
    batch: usize,
    train: Executor,
    predict: Executor,
    improve: Executor,
    decode: Executor,
    ids: Ids,
    /// The parameters after [`Model::keep`], to start from again.
    kept: Vec<Vec<f32>>,
}

struct Ids {
    x: InputId,
    previous: InputId,
    mask: InputId,
    labels: InputId,
    target: InputId,
    weight: InputId,
    hyper: InputId,
    loss: OutputId,
    predict_x: InputId,
    prediction: OutputId,
    improve_x: InputId,
    lambda: InputId,
    decode_previous: InputId,
    logits: OutputId,
}

impl Model {
    /// A network with parameters drawn from `seed`. Of `options` it takes how it trains: batch, loss and clipping.
    pub fn new(
        device: &Device,
        vocabulary: &Vocabulary,
        net: Net,
        options: &Options,
        seed: u64,
    ) -> Result<Model, TrainError> {
        let states = States::new(device);
        let batch = options.batch;
        Executor::new(&Plan::new(&net.init_graph(seed)?)?, &states)?.run()?;
        let bind = |graph: &crate::graph::Graph| -> Result<Executor, TrainError> {
            Ok(Executor::new(&Plan::new(&graph.fuse())?, &states)?)
        };
        let train = bind(&net.training(batch, options.share, options.clip)?)?;
        let predict = bind(&net.prediction(CHUNK)?)?;
        let improve = bind(&net.improvement(CHUNK)?)?;
        let decode = bind(&net.decoding(CHUNK)?)?;
        let ids = Ids {
            x: train.input("x")?,
            previous: train.input("previous")?,
            mask: train.input("mask")?,
            labels: train.input("labels")?,
            target: train.input("target")?,
            weight: train.input("weight")?,
            hyper: train.input("hyper")?,
            loss: train.output("loss")?,
            predict_x: predict.input("x")?,
            prediction: predict.output("prediction")?,
            improve_x: improve.input("x")?,
            lambda: improve.input("lambda")?,
            decode_previous: decode.input("previous")?,
            logits: decode.output("logits")?,
        };
        let vocabulary = vocabulary.clone();
        let mut model =
            Model { vocabulary, net, states, batch, train, predict, improve, decode, ids, kept: vec![] };
        model.keep()?;
        Ok(model)
    }

    /// The tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Remembers the parameters for [`restart`](Self::restart).
    pub fn keep(&mut self) -> Result<(), TrainError> {
        let parameters = self.net.parameters();
        self.kept =
            parameters.iter().map(|p| self.states.read(&p.name)).collect::<Result<_, DeviceError>>()?;
        Ok(())
    }

    /// Sets the parameters to those that were kept last.
    pub fn restart(&mut self) -> Result<(), TrainError> {
        for (p, value) in self.net.parameters().iter().zip(&self.kept) {
            self.states.write(&p.name, &TensorType::f32(p.shape.clone()), value)?;
        }
        Ok(())
    }

    /// Trains for a stretch with a fresh optimiser; `next` gives each step's sequences, at most as many as the batch (it is
    /// filled up with repetitions). Returns the last loss. Error: the loss is no longer a number.
    pub fn train(
        &mut self,
        stretch: Stretch,
        mut next: impl FnMut(usize) -> Vec<Example>,
    ) -> Result<f32, TrainError> {
        let adam = Optimizer::adam();
        for p in self.net.parameters() {
            for moment in adam.moment_names() {
                let zeros = vec![0f32; p.shape.iter().product()];
                let ty = TensorType::f32(p.shape.clone());
                self.states.write(&format!("optim.{}.{moment}", p.name), &ty, &zeros)?;
            }
        }
        let mut loss = [0f32];
        for step in 0..stretch.steps {
            self.load(&next(step))?;
            let done = step as f64 / stretch.steps as f64;
            let rate = stretch.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
            self.train.write(self.ids.hyper, &adam.hyper(step as u64 + 1, rate))?;
            self.train.run()?;
        }
        if stretch.steps > 0 {
            self.train.read(self.ids.loss, &mut loss)?;
        }
        if !loss[0].is_finite() {
            return Err(TrainError::Diverged {
                step: stretch.steps as u64,
                epoch: 1,
                loss: loss[0],
                learning_rate: stretch.learning_rate,
                kept: String::new(),
            });
        }
        Ok(loss[0])
    }

    /// Writes a batch to the training step's inputs.
    fn load(&mut self, examples: &[Example]) -> Result<(), TrainError> {
        let (batch, width, size) = (self.batch, self.vocabulary.width(), self.vocabulary.size());
        let rows = self.vocabulary.length() * batch;
        let (mut x, mut previous) = (vec![0f32; rows * width], vec![0f32; rows * width]);
        let (mut mask, mut labels) = (vec![0f32; rows * size], vec![0u32; rows]);
        let (mut target, mut weight) = (vec![0f32; batch], vec![0f32; batch]);
        let Some(last) = examples.len().checked_sub(1) else { return Ok(()) };
        let labelled = (0..batch).filter(|b| examples[b % (last + 1)].target.is_some()).count().max(1);
        for b in 0..batch {
            let example = &examples[b % (last + 1)];
            if let Some(t) = example.target {
                (target[b], weight[b]) = (t, 1.0 / labelled as f32);
            }
            let mut before = START;
            for (t, &token) in example.tokens.iter().enumerate() {
                let row = t * batch + b;
                self.vocabulary.write_input(&mut x[row * width..][..width], t, token);
                self.vocabulary.write_input(&mut previous[row * width..][..width], t, before);
                self.vocabulary.write_mask(&mut mask[row * size..][..size], t, token != ABSENT);
                labels[row] = u32::from(token);
                before = token;
            }
        }
        self.train.write(self.ids.x, &x)?;
        self.train.write(self.ids.previous, &previous)?;
        self.train.write(self.ids.mask, &mask)?;
        self.train.write(self.ids.labels, &labels)?;
        self.train.write(self.ids.target, &target)?;
        self.train.write(self.ids.weight, &weight)?;
        Ok(())
    }

    /// What the predictor says of each sequence.
    pub fn predict(&mut self, sequences: &[Vec<Token>]) -> Result<Vec<f32>, TrainError> {
        let mut out = Vec::with_capacity(sequences.len());
        let mut said = [0f32; CHUNK];
        for chunk in sequences.chunks(CHUNK) {
            self.predict.write(self.ids.predict_x, &self.inputs(chunk))?;
            self.predict.run()?;
            self.predict.read(self.ids.prediction, &mut said)?;
            out.extend(&said[..chunk.len()]);
        }
        Ok(out)
    }

    /// The input rows of at most [`CHUNK`] sequences.
    fn inputs(&self, chunk: &[Vec<Token>]) -> Vec<f32> {
        let width = self.vocabulary.width();
        let mut x = vec![0f32; self.vocabulary.length() * CHUNK * width];
        for b in 0..CHUNK {
            for (t, &token) in chunk[b % chunk.len()].iter().enumerate() {
                self.vocabulary.write_input(&mut x[(t * CHUNK + b) * width..][..width], t, token);
            }
        }
        x
    }

    /// Encodes each parent, moves it by `lambda` up the predictor's gradient, and decodes greedily: the points with their
    /// tokens, in the order of the parents. With `lambda` 0 that is the reconstruction. `exact` says whether values whose
    /// token did not change are the parent's.
    pub fn improve(
        &mut self,
        parents: &[Point],
        lambda: f32,
        exact: bool,
        rng: &mut Rng,
    ) -> Result<Vec<(Point, Vec<Token>)>, TrainError> {
        let vocabulary = self.vocabulary.clone();
        let (width, size) = (vocabulary.width(), vocabulary.size());
        let mut out = Vec::with_capacity(parents.len());
        let mut logits = vec![0f32; CHUNK * size];
        for chunk in parents.chunks(CHUNK) {
            let sequences: Vec<Vec<Token>> = chunk.iter().map(|p| vocabulary.encode(p)).collect();
            self.improve.write(self.ids.improve_x, &self.inputs(&sequences))?;
            self.improve.write(self.ids.lambda, &[lambda])?;
            self.improve.run()?;
            let mut decodings: Vec<Decoding<'_>> =
                chunk.iter().map(|p| vocabulary.decoding(exact.then_some(p))).collect();
            for t in 0..vocabulary.length() {
                let mut previous = vec![0f32; CHUNK * width];
                for (b, row) in previous.chunks_exact_mut(width).enumerate() {
                    vocabulary.write_input(row, t, decodings[b % chunk.len()].last());
                }
                self.decode.write(self.ids.decode_previous, &previous)?;
                self.decode.run()?;
                self.decode.read(self.ids.logits, &mut logits)?;
                for (decoding, logits) in decodings.iter_mut().zip(logits.chunks_exact(size)) {
                    decoding.push_best(logits, rng);
                }
            }
            out.extend(decodings.into_iter().map(Decoding::finish));
        }
        Ok(out)
    }
}
