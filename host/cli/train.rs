//! `train DATA`: load, split, train with progress, evaluate, save.
//!
//! The directory of the run receives `model.safetensors`, `metrics.csv`, `metrics.jsonl` and `checkpoint.safetensors`; a
//! model that was there before is replaced only by a whole new one. Options are read in [`options`](self::options).

mod options;

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use ironwarp::data::{Dataset, Split, Task};
use ironwarp::graph::Plan;
use ironwarp::nn::Mlp;
use ironwarp::train::{self, Control, Evaluation, Loss, Model, Trainer};
use serde_json::{Map, Value, json};

use super::args::Source;
use super::fail::{self, usage_error};
use super::interrupt::{self, Training};
use super::progress::Progress;
use super::run_dir::RunDir;
use super::{out, report};
use options::GraphFormat;
pub use options::{Args, OptimizerArg};

/// Name of the model's file in a run's directory.
const MODEL_FILE: &str = "model.safetensors";

pub fn run(args: &Args) -> Result<()> {
    let mut options = args.options()?;
    let device = args.device.open()?;
    let source = Source::of(&args.data, &args.reading)?;
    let raw = source.load(&args.reading.options())?.scaled(args.scale.into());
    options.loss = args.loss(raw.task())?;
    let split = split(&raw, args.test_fraction, args.seed)?;
    let net = args.network(split.train.features().cols, split.train.outputs())?;
    if let Some(format) = args.print_graph {
        return print_graph(format, &net, &options, &split.train);
    }
    if !args.quiet {
        raw.report().lines.iter().chain(&split.preprocessing.notes).for_each(|text| fail::line(text));
    }

    let name = source.name();
    let mut dir = RunDir::choose(args.out.as_deref(), &name, args.resume)?;
    let tensors = 2 + options.optimizer.moments();
    dir.check_writable(net.parameter_count() * 4 * tensors + (1 << 16))?;
    interrupt::install()?;
    let began = Instant::now();
    let fitted = {
        let mut progress = Progress::new(args.quiet);
        let training = Training::begin();
        let trainer = Trainer::new(net)
            .options(options)
            .directory(dir.path())
            .resume(args.resume)
            .checkpoint_interval(Duration::from_secs_f64(args.checkpoint_interval))
            .observer(|event| {
                progress.event(event);
                if interrupt::requested() { Control::Stop } else { Control::Continue }
            });
        let fitted = trainer.fit(&device, &split.train);
        drop(training);
        progress.finish();
        fitted
    };
    let model = fitted?;
    let seconds = began.elapsed().as_secs_f64();
    dir.keep();
    let path = dir.path().join(MODEL_FILE);
    model.save(&path)?;
    let result = Outcome {
        train: model.evaluate(&split.train)?,
        test: split.test.as_ref().map(|test| model.evaluate(test)).transpose()?,
        seconds,
        dir: dir.path(),
        path: &path,
        name: &name,
        rows: (split.train.rows(), split.test.as_ref().map_or(0, Dataset::rows)),
        model,
    };
    if args.json { out::print_json(&result.json(args)) } else { out::print(&result.text()) }
}

/// Training rows and, unless the fraction is 0, the rows held out.
struct Parts {
    train: Dataset,
    test: Option<Dataset>,
    preprocessing: std::sync::Arc<ironwarp::data::Preprocessing>,
}

impl From<Split> for Parts {
    fn from(split: Split) -> Parts {
        Parts { train: split.train, test: Some(split.test), preprocessing: split.preprocessing }
    }
}

/// As the file says, else stratified by the seed.
fn split(raw: &Dataset, fraction: f64, seed: u64) -> Result<Parts> {
    if let Some(own) = raw.own_split() {
        return Ok(own?.into());
    }
    if fraction == 0.0 {
        let train = raw.clone().prepared()?;
        let Some(preprocessing) = train.preprocessing().cloned() else {
            unreachable!("prepared() attaches it")
        };
        return Ok(Parts { train, test: None, preprocessing });
    }
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(usage_error(format!("--test-fraction {fraction}: give a number in [0, 1), such as 0.2")));
    }
    Ok(raw.stratified_split(1.0 - fraction, seed)?.into())
}

/// The fused training step and what it needs.
fn print_graph(format: GraphFormat, net: &Mlp, options: &train::Options, data: &Dataset) -> Result<()> {
    let loss = options.loss.unwrap_or(match data.task() {
        Some(Task::Regression) => Loss::Mse,
        _ => Loss::CrossEntropy { smoothing: options.smoothing },
    });
    let (rows, batch) = (data.rows(), options.batch.unwrap_or(data.rows().min(64)));
    if batch > rows {
        return Err(usage_error(format!("--batch {batch} is larger than the training data ({rows} rows)")));
    }
    let graph = train::step::training_step(net, options, loss, rows, batch, true);
    let graph = graph.map_err(train::TrainError::from)?.fuse();
    let summary = Plan::new(&graph).map_err(train::TrainError::from)?.summary();
    match format {
        GraphFormat::Text => out::print(&format!("{graph}# {summary}\n")),
        GraphFormat::Dot => out::print(&format!("{}// {summary}\n", graph.to_dot())),
    }
}

/// A run that came to its end.
struct Outcome<'a> {
    model: Model,
    train: Evaluation,
    test: Option<Evaluation>,
    seconds: f64,
    dir: &'a Path,
    path: &'a Path,
    name: &'a str,
    /// Training and test rows.
    rows: (usize, usize),
}

impl Outcome<'_> {
    /// Median over the epochs.
    fn samples_per_second(&self) -> f64 {
        report::median(self.model.history.epochs.iter().map(|e| e.samples_per_second))
    }

    fn text(&self) -> String {
        let (net, options) = (self.model.net(), self.model.options());
        let widths: Vec<String> = std::iter::once(net.inputs)
            .chain(net.layers.iter().map(|layer| layer.units))
            .map(|units| units.to_string())
            .collect();
        let epochs = &self.model.history.epochs;
        let mut text = String::new();
        let mut line = |s: String| {
            let _ = writeln!(text, "{s}");
        };
        line(format!("{}: {} rows to train on, {} held out", self.name, self.rows.0, self.rows.1));
        let parameters = out::grouped(net.parameter_count() as u64);
        line(format!("network {}, {parameters} parameters, {}", widths.join("-"), options.optimizer));
        let rate = out::grouped(self.samples_per_second() as u64);
        let (seconds, device) = (self.seconds, self.model.device().kind());
        line(format!(
            "{} epochs in {seconds:.2} s on {device}, {rate} samples/s (median epoch)",
            epochs.len()
        ));
        line(String::new());
        line(format!("train  {}", report::figures(&self.train)));
        if let Some(test) = &self.test {
            line(format!("test   {}", report::figures(test)));
        }
        let names = self.model.preprocessing().map_or(&[][..], |p| p.classes());
        let classes = report::classes(self.test.as_ref().unwrap_or(&self.train), names);
        if !classes.is_empty() {
            line(format!("\n{classes}"));
        }
        line(format!(
            "wrote {}, with metrics.csv, metrics.jsonl and the checkpoint beside it",
            self.path.display()
        ));
        text
    }

    fn json(&self, args: &Args) -> Value {
        let (net, options) = (self.model.net(), self.model.options());
        let epochs = &self.model.history.epochs;
        let hidden: Vec<usize> = net.layers[..net.layers.len() - 1].iter().map(|layer| layer.units).collect();
        let mut map = Map::new();
        map.insert("command".into(), json!("train"));
        map.insert("data".into(), json!(args.data.display().to_string()));
        map.insert("device".into(), json!(self.model.device().kind().to_string()));
        map.insert("seed".into(), json!(options.seed));
        map.insert("epochs".into(), json!(epochs.len()));
        report::insert(&mut map, "train_", &self.train);
        match &self.test {
            Some(test) => report::insert(&mut map, "test_", test),
            None => drop(map.insert("test_loss".into(), Value::Null)),
        }
        if let Some(last) = epochs.last() {
            let val =
                [("val_loss", last.val_loss), ("val_accuracy", last.val_accuracy), ("val_r2", last.val_r2)];
            for (key, value) in val {
                if let Some(value) = value {
                    map.insert(key.into(), report::number(value));
                }
            }
        }
        map.insert("samples_per_second".into(), report::number(self.samples_per_second()));
        map.insert("seconds".into(), report::number(self.seconds));
        map.insert("parameters".into(), json!(net.parameter_count()));
        map.insert("inputs".into(), json!(net.inputs));
        map.insert("hidden".into(), json!(hidden));
        map.insert("outputs".into(), json!(net.outputs()));
        map.insert("train_rows".into(), json!(self.rows.0));
        map.insert("test_rows".into(), json!(self.rows.1));
        map.insert("optimizer".into(), json!(options.optimizer.name()));
        map.insert("learning_rate".into(), json!(options.learning_rate));
        map.insert("precision".into(), json!(options.precision));
        map.insert("out".into(), json!(self.dir.display().to_string()));
        map.insert("model".into(), json!(self.path.display().to_string()));
        Value::Object(map)
    }
}
