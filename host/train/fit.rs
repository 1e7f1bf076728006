//! The training loop: a [`Session`] with an observer, checkpoints and early stopping around it.

use std::path::PathBuf;
use std::time::Instant;

use super::checkpoint::{self, CHECKPOINT_FILE, CheckpointInfo, FORMAT, SavedTensor};
use super::session::SharedData;
use super::{Control, Event, Model, Session, TrainError, Trainer};
use crate::data::Dataset;
use crate::device::{Device, DeviceKind};
use crate::graph::on_workers;
use crate::ops::TensorType;

/// Everything of a run under way.
struct Run<'t, 'a> {
    trainer: &'t mut Trainer<'a>,
    session: Session,
    data_hash: u64,
    best: Option<(f64, usize)>,
    last_checkpoint: Instant,
    /// Whether the directory's checkpoint is one of this run.
    saved: bool,
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
        let shared = SharedData::prepared(device, train, held)?;
        let mut run = Run {
            session: Session::on(&shared, self.net.clone(), options)?,
            data_hash: shared.train().hash(),
            best: None,
            last_checkpoint: Instant::now(),
            saved: false,
            trainer: &mut self,
        };
        drop(shared);
        run.start()?;
        run.train()?;
        run.finish()
    }
}

impl Run<'_, '_> {
    fn tell(&mut self, event: &Event<'_>) -> Control {
        self.trainer.observer.as_mut().map_or(Control::Continue, |observer| observer(event))
    }

    fn path(&self) -> Option<PathBuf> {
        self.trainer.directory.as_ref().map(|d| d.join(CHECKPOINT_FILE))
    }

    /// Takes the parameters from the checkpoint where the run is to go on.
    fn start(&mut self) -> Result<(), TrainError> {
        if self.trainer.resume {
            self.resume()?;
        }
        let event = Event::Start {
            epoch: self.session.epoch,
            epochs: self.session.options().epochs,
            steps_per_epoch: self.session.steps_per_epoch(),
            plan: self.session.plan(),
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
        if info.net != *self.session.net() {
            return bad("another network");
        }
        // More epochs may be asked for only where that changes nothing that was done.
        if info.options != *self.session.options() || info.loss != self.session.loss() {
            return bad("other options");
        }
        if info.data != self.data_hash {
            return bad("other data");
        }
        checkpoint::check_parameters(&path, self.session.net(), &tensors)?;
        checkpoint::put_states(self.session.states(), &tensors)?;
        self.session.epoch = info.epoch;
        self.session.step_in_epoch = info.step_in_epoch;
        self.session.history = info.history;
        self.best = info.best;
        self.saved = true;
        Ok(())
    }

    /// What a checkpoint holds: everything that changes but the order of the rows, which follows from the seed.
    fn kept(name: &str) -> bool {
        name.starts_with("layers.")
            || name.starts_with("norms.")
            || name.starts_with("optim.")
            || name.starts_with("scaler.")
            || name.starts_with("best.")
            || name == "train.loss_sum"
            || name == "train.confusion"
    }

    /// As the session's errors are, with where the last good state is.
    fn kept_in(&self, error: TrainError) -> TrainError {
        match (error, self.path().filter(|_| self.saved)) {
            (TrainError::Diverged { step, epoch, loss, learning_rate, .. }, Some(path)) => {
                let kept = format!("; the last good state is in {}", path.display());
                TrainError::Diverged { step, epoch, loss, learning_rate, kept }
            }
            (error, _) => error,
        }
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let Some(path) = self.path() else { return Ok(()) };
        self.session.check_finite().map_err(|e| self.kept_in(e))?;
        let info = CheckpointInfo {
            format: FORMAT,
            net: self.session.net().clone(),
            options: self.session.options().clone(),
            loss: self.session.loss(),
            data: self.data_hash,
            epoch: self.session.epoch,
            step_in_epoch: self.session.step_in_epoch,
            history: self.session.history.clone(),
            best: self.best,
        };
        checkpoint::save(
            &path,
            "checkpoint",
            &checkpoint::take_states(self.session.states(), Self::kept)?,
            &info,
        )?;
        self.last_checkpoint = Instant::now();
        self.saved = true;
        Ok(())
    }

    fn train(&mut self) -> Result<(), TrainError> {
        while !self.session.finished() && !self.stopped_early() {
            self.epoch()?;
        }
        Ok(())
    }

    fn stopped_early(&self) -> bool {
        let patience = self.session.options().patience.unwrap_or(usize::MAX);
        self.best.is_some_and(|(_, epoch)| self.session.epoch - epoch >= patience)
    }

    fn epoch(&mut self) -> Result<(), TrainError> {
        self.session.begin_epoch()?;
        while !self.session.epoch_ends() {
            let done = self.session.step().map_err(|e| self.kept_in(e))?;
            let event = Event::Step { step: done.step, loss: done.loss, samples: done.samples };
            if self.tell(&event) == Control::Stop {
                return Err(self.interrupted()?);
            }
        }
        let record = self.session.end_epoch().map_err(|e| self.kept_in(e))?;
        if let Some(val_loss) = record.val_loss
            && self.best.is_none_or(|(loss, _)| val_loss < loss)
        {
            self.best = Some((val_loss, record.epoch));
            if self.session.options().patience.is_some() {
                self.remember_best()?;
            }
        }
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

    fn interrupted(&mut self) -> Result<TrainError, TrainError> {
        self.checkpoint()?;
        let kept = match self.path() {
            Some(p) => {
                let directory = p.parent().unwrap_or(&p).display();
                format!("; the state is in {}: go on with --resume --out {directory}", p.display())
            }
            None => String::new(),
        };
        Ok(TrainError::Interrupted { step: self.session.steps_done(), kept })
    }

    /// Copies the parameters to `best.*`, from where `finish` takes them.
    fn remember_best(&self) -> Result<(), TrainError> {
        self.copy_parameters("", "best.")
    }

    fn copy_parameters(&self, from: &str, to: &str) -> Result<(), TrainError> {
        let states = self.session.states();
        for p in self.session.net().tensors() {
            let value: Vec<f32> = states.read(&format!("{from}{}", p.name))?;
            states.write(&format!("{to}{}", p.name), &TensorType::f32(p.shape), &value)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Model, TrainError> {
        self.session.check_finite().map_err(|e| self.kept_in(e))?;
        if self.session.options().patience.is_some() && self.best.is_some() {
            self.copy_parameters("best.", "")?;
        }
        if let Some(directory) = self.trainer.directory.clone() {
            self.checkpoint()?;
            self.session.history().write(&directory)?;
        }
        Ok(self.session.into_model())
    }
}
