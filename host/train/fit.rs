//! The training loop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::{self, CHECKPOINT_FILE, CheckpointInfo, FORMAT, SavedTensor};
use super::part::{self, Evaluator};
use super::{Control, EpochRecord, Event, History, Loss, Model, Options, TrainError, Trainer, step};
use crate::data::{Dataset, Task, permutation};
use crate::device::{Device, DeviceKind};
use crate::graph::{Executor, InputId, OutputId, Plan, PlanSummary, States, on_workers};
use crate::nn::Mlp;

/// A training step for one minibatch size.
struct StepExec {
    exec: Executor,
    hyper: InputId,
    step: InputId,
    loss: OutputId,
    batch: usize,
}

/// Everything of a run under way.
struct Run<'t, 'a> {
    trainer: &'t mut Trainer<'a>,
    net: Mlp,
    options: Options,
    loss: Loss,
    states: States,
    rows: usize,
    /// Full minibatches, then the rest of an epoch (if any).
    steps: Vec<StepExec>,
    per_epoch: u64,
    plan: PlanSummary,
    validation: Option<Evaluator>,
    preprocessing: Option<Arc<crate::data::Preprocessing>>,
    data_hash: u64,
    epoch: usize,
    step_in_epoch: u64,
    history: History,
    best: Option<(f64, usize)>,
    last_checkpoint: Instant,
    /// Whether the directory's checkpoint is one of this run.
    saved: bool,
    /// Whether reading the loss of a step costs nothing.
    watch: bool,
}

impl Trainer<'_> {
    /// Trains on `data` (raw data is prepared first, with the statistics of all its rows). Errors: options, network and
    /// data do not fit; the loss diverges; the observer stops the run; a file cannot be written.
    pub fn fit(self, device: &Device, data: &Dataset) -> Result<Model, TrainError> {
        match device.kind() {
            DeviceKind::Cpu => on_workers(|| self.fit_here(device, data)),
            _ => self.fit_here(device, data),
        }
    }

    fn fit_here(mut self, device: &Device, data: &Dataset) -> Result<Model, TrainError> {
        self.options.validate()?;
        let data = data.clone().prepared()?;
        let options = self.options.clone();
        let (train, held) = if options.validation > 0.0 {
            let (train, held) = data.validation_split(options.validation, options.seed)?;
            (train, Some(held))
        } else {
            (data, None)
        };
        let mut run = Run::new(&mut self, device, &train, held.as_ref())?;
        run.start()?;
        run.train()?;
        run.finish()
    }
}

impl<'t, 'a> Run<'t, 'a> {
    fn new(
        trainer: &'t mut Trainer<'a>,
        device: &Device,
        train: &Dataset,
        held: Option<&Dataset>,
    ) -> Result<Run<'t, 'a>, TrainError> {
        let (net, options) = (trainer.net.clone(), trainer.options.clone());
        let loss = options.loss.unwrap_or(match train.task() {
            Some(Task::Regression) => Loss::Mse,
            _ => Loss::CrossEntropy { smoothing: options.smoothing },
        });
        part::check_fit(&net, loss, train)?;
        let rows = train.rows();
        let batch = options.batch.unwrap_or(rows.min(64));
        if batch > rows {
            let text = format!(
                "a batch of {batch} is larger than the training data ({rows} rows); give at most {rows}"
            );
            return Err(TrainError::Options(text));
        }
        let states = States::new(device);
        part::upload(&states, "train", train, loss, &net)?;
        let mut steps = vec![];
        let mut plan = PlanSummary::default();
        for batch in [batch, rows % batch] {
            if batch == 0 {
                continue;
            }
            let planned = Plan::new(&step::training_step(&net, &options, loss, rows, batch, true)?.fuse())?;
            if steps.is_empty() {
                plan = planned.summary();
            }
            let exec = Executor::new(&planned, &states)?;
            let (hyper, step, out) = (exec.input("hyper")?, exec.input("step")?, exec.output("loss")?);
            steps.push(StepExec { exec, hyper, step, loss: out, batch });
        }
        let validation = held.map(|held| Evaluator::new(&states, "val", held, loss, &net)).transpose()?;
        Ok(Run {
            net,
            loss,
            states,
            rows,
            steps,
            per_epoch: rows.div_ceil(batch) as u64,
            plan,
            validation,
            preprocessing: train.preprocessing().cloned(),
            data_hash: hash(train),
            epoch: 0,
            step_in_epoch: 0,
            history: History::default(),
            best: None,
            last_checkpoint: Instant::now(),
            saved: false,
            watch: !matches!(device.kind(), DeviceKind::Cuda(_)),
            options,
            trainer,
        })
    }

    fn tell(&mut self, event: &Event<'_>) -> Control {
        self.trainer.observer.as_mut().map_or(Control::Continue, |observer| observer(event))
    }

    fn path(&self) -> Option<PathBuf> {
        self.trainer.directory.as_ref().map(|d| d.join(CHECKPOINT_FILE))
    }

    /// Initialises the parameters, or takes them from the checkpoint.
    fn start(&mut self) -> Result<(), TrainError> {
        let mut init = Executor::new(&Plan::new(&self.net.init_graph(self.options.seed)?)?, &self.states)?;
        init.run()?;
        part::reset(&self.states, "train", self.loss, &self.net)?;
        if self.trainer.resume {
            self.resume()?;
        }
        let event = Event::Start {
            epoch: self.epoch,
            epochs: self.options.epochs,
            steps_per_epoch: self.per_epoch,
            plan: self.plan,
        };
        self.tell(&event);
        Ok(())
    }

    fn resume(&mut self) -> Result<(), TrainError> {
        let Some(path) = self.path() else {
            return Err(TrainError::Options("resuming needs the run's directory; give --out DIR".into()));
        };
        if !path.exists() {
            return Ok(());
        }
        let (tensors, info): (Vec<SavedTensor>, CheckpointInfo) = checkpoint::load(&path, "checkpoint")?;
        let bad = |what: &str| {
            let reason = format!("the checkpoint was made with {what}; give the same, or another --out");
            Err(TrainError::File { path: path.clone(), reason })
        };
        if info.format != FORMAT {
            return bad("another version");
        }
        if info.net != self.net {
            return bad("another network");
        }
        // More epochs may be asked for only where that changes nothing that was done.
        if info.options != self.options || info.loss != self.loss {
            return bad("other options");
        }
        if info.data != self.data_hash {
            return bad("other data");
        }
        checkpoint::check_parameters(&path, &self.net, &tensors)?;
        checkpoint::put_states(&self.states, &tensors)?;
        self.epoch = info.epoch;
        self.step_in_epoch = info.step_in_epoch;
        self.history = info.history;
        self.best = info.best;
        self.saved = true;
        Ok(())
    }

    /// What a checkpoint holds: everything that changes but the order of the rows, which follows from the seed.
    fn kept(name: &str) -> bool {
        name.starts_with("layers.")
            || name.starts_with("optim.")
            || name.starts_with("best.")
            || name == "train.loss_sum"
            || name == "train.confusion"
    }

    /// Error: the parameters are no longer numbers, which the next loss would show; the checkpoint before stays.
    fn check_finite(&self) -> Result<(), TrainError> {
        for p in self.net.parameters() {
            if self.states.read::<f32>(&p.name)?.iter().any(|x| !x.is_finite()) {
                return Err(self.diverged(self.epoch as u64 * self.per_epoch + self.step_in_epoch, f32::NAN));
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let Some(path) = self.path() else { return Ok(()) };
        self.check_finite()?;
        let info = CheckpointInfo {
            format: FORMAT,
            net: self.net.clone(),
            options: self.options.clone(),
            loss: self.loss,
            data: self.data_hash,
            epoch: self.epoch,
            step_in_epoch: self.step_in_epoch,
            history: self.history.clone(),
            best: self.best,
        };
        checkpoint::save(&path, "checkpoint", &checkpoint::take_states(&self.states, Self::kept)?, &info)?;
        self.last_checkpoint = Instant::now();
        self.saved = true;
        Ok(())
    }

    fn train(&mut self) -> Result<(), TrainError> {
        while self.epoch < self.options.epochs && !self.stopped_early() {
            self.epoch()?;
        }
        Ok(())
    }

    fn stopped_early(&self) -> bool {
        let patience = self.options.patience.unwrap_or(usize::MAX);
        self.best.is_some_and(|(_, epoch)| self.epoch - epoch >= patience)
    }

    fn epoch(&mut self) -> Result<(), TrainError> {
        let began = Instant::now();
        let order = permutation(self.rows, self.options.seed, self.epoch as u64);
        self.states.write("train.order", &crate::ops::TensorType::u32([self.rows]), &order)?;
        let first = self.step_in_epoch;
        while self.step_in_epoch < self.per_epoch {
            self.step()?;
        }
        let (train_loss, confusion) = part::totals(&self.states, "train", self.loss, self.rows)?;
        let trained = began.elapsed().as_secs_f64();
        let step = (self.epoch as u64 + 1) * self.per_epoch;
        if !train_loss.is_finite() {
            return Err(self.diverged(step, train_loss as f32));
        }
        let classes = self.net.outputs();
        let train_accuracy = self.loss.takes_labels().then(|| part::accuracy(&confusion, classes));
        let val = self.validation.as_mut().map(|v| v.run()).transpose()?.map(|(evaluation, _)| evaluation);
        self.epoch += 1;
        self.step_in_epoch = 0;
        part::reset(&self.states, "train", self.loss, &self.net)?;
        let samples = (self.per_epoch - first) as f64 / self.per_epoch as f64 * self.rows as f64;
        let record = EpochRecord {
            epoch: self.epoch,
            step,
            learning_rate: self.learning_rate(step - 1),
            train_loss,
            train_accuracy,
            val_loss: val.as_ref().map(|v| v.loss),
            val_accuracy: val.as_ref().map(|v| v.accuracy).filter(|a| !a.is_nan()),
            val_r2: val.as_ref().map(|v| v.r2).filter(|r| !r.is_nan()),
            seconds: began.elapsed().as_secs_f64(),
            samples_per_second: samples / trained.max(1e-9),
        };
        if let Some(v) = &val
            && self.best.is_none_or(|(loss, _)| v.loss < loss)
        {
            self.best = Some((v.loss, self.epoch));
            if self.options.patience.is_some() {
                self.remember_best()?;
            }
        }
        self.history.epochs.push(record.clone());
        let control = self.tell(&Event::Epoch(&record));
        if self.stopped_early()
            && let Some((_, best)) = self.best
        {
            self.tell(&Event::EarlyStop { best });
        }
        if self.last_checkpoint.elapsed() >= self.trainer.checkpoint_interval {
            self.checkpoint()?;
        }
        if control == Control::Stop { Err(self.interrupted()?) } else { Ok(()) }
    }

    fn learning_rate(&self, step: u64) -> f64 {
        let total = self.options.epochs as u64 * self.per_epoch;
        let warmup = (self.options.warmup_epochs * self.per_epoch as f64).round() as u64;
        self.options.learning_rate * self.options.schedule.factor(step, total, self.per_epoch, warmup)
    }

    fn step(&mut self) -> Result<(), TrainError> {
        let step = self.epoch as u64 * self.per_epoch + self.step_in_epoch;
        let hyper = self.options.optimizer.hyper(step + 1, self.learning_rate(step));
        let full = self.steps[0].batch;
        let offset = self.step_in_epoch as usize * full;
        let last = offset + full > self.rows;
        let s = &mut self.steps[usize::from(last)];
        s.exec.write(s.hyper, &hyper)?;
        s.exec.write(s.step, &[step as u32, (step >> 32) as u32, offset as u32, 0])?;
        s.exec.run()?;
        let samples = s.batch;
        let mut loss = [0f32];
        let seen = if self.watch {
            s.exec.read(s.loss, &mut loss)?;
            Some(loss[0])
        } else {
            None
        };
        if let Some(loss) = seen
            && !loss.is_finite()
        {
            return Err(self.diverged(step + 1, loss));
        }
        self.step_in_epoch += 1;
        if self.tell(&Event::Step { step: step + 1, loss: seen, samples }) == Control::Stop {
            return Err(self.interrupted()?);
        }
        Ok(())
    }

    fn diverged(&self, step: u64, loss: f32) -> TrainError {
        let path = self.path().filter(|_| self.saved);
        let kept = path.map_or(String::new(), |p| format!("; the last good state is in {}", p.display()));
        let (epoch, learning_rate) = (self.epoch + 1, self.options.learning_rate);
        TrainError::Diverged { step, epoch, loss, learning_rate, kept }
    }

    fn interrupted(&mut self) -> Result<TrainError, TrainError> {
        self.checkpoint()?;
        let kept = match self.path() {
            Some(p) => {
                let directory = p.parent().unwrap_or(&p).display();
                format!("; the state is in {}: go on with --resume --out {directory}", p.display())
            }
            None => String::new(),
        };
        Ok(TrainError::Interrupted { step: self.epoch as u64 * self.per_epoch + self.step_in_epoch, kept })
    }

    /// Copies the parameters to `best.*`, from where `finish` takes them.
    fn remember_best(&self) -> Result<(), TrainError> {
        for p in self.net.parameters() {
            let value: Vec<f32> = self.states.read(&p.name)?;
            self.states.write(&format!("best.{}", p.name), &crate::ops::TensorType::f32(p.shape), &value)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Model, TrainError> {
        self.check_finite()?;
        if self.options.patience.is_some() && self.best.is_some() {
            for p in self.net.parameters() {
                let value: Vec<f32> = self.states.read(&format!("best.{}", p.name))?;
                self.states.write(&p.name, &crate::ops::TensorType::f32(p.shape), &value)?;
            }
        }
        if let Some(directory) = self.trainer.directory.clone() {
            self.checkpoint()?;
            self.history.write(&directory)?;
        }
        let model = Model {
            net: self.net,
            loss: self.loss,
            options: self.options,
            preprocessing: self.preprocessing,
            states: self.states,
            history: self.history,
        };
        Ok(model)
    }
}

/// FNV-1a over features and targets: whether a checkpoint belongs to this data.
fn hash(data: &Dataset) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    let mut eat = |word: u32| h = (h ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3);
    data.features().values.iter().for_each(|x| eat(x.to_bits()));
    data.labels().unwrap_or_default().iter().for_each(|&l| eat(l));
    data.values().unwrap_or_default().iter().for_each(|x| eat(x.to_bits()));
    h
}
