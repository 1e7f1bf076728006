//! Progress of a training run on stderr: a bar in a terminal, otherwise about twenty plain lines.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ironwarp::train::{EpochRecord, Event};

use super::fail;

/// Plain lines of a whole run, about.
const LINES: usize = 20;

/// How often the bar's text changes.
const REFRESH: Duration = Duration::from_millis(100);

enum Style {
    Bar(ProgressBar),
    Lines,
    Silent,
}

/// Shows what a trainer's observer is told.
pub struct Progress {
    style: Style,
    epochs: usize,
    epoch: usize,
    shown: Instant,
    /// Running mean of the loss, for the bar.
    loss: Option<f64>,
    last: String,
}

impl Progress {
    pub fn new(quiet: bool) -> Progress {
        let style = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Bar(bar()),
            (false, false) => Style::Lines,
        };
        Progress { style, epochs: 0, epoch: 0, shown: Instant::now(), loss: None, last: String::new() }
    }

    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Start { epoch, epochs, steps_per_epoch, .. } => {
                (self.epoch, self.epochs) = (*epoch, *epochs);
                if let Style::Bar(bar) = &self.style {
                    bar.set_length(*epochs as u64 * steps_per_epoch);
                    bar.set_position(*epoch as u64 * steps_per_epoch);
                    bar.reset_eta();
                }
                if *epoch > 0 && !matches!(self.style, Style::Silent) {
                    self.line(&format!("resumed: {epoch} of {epochs} epochs were done"));
                }
            }
            Event::Step { step, loss, .. } => {
                let Style::Bar(bar) = &self.style else { return };
                if let Some(loss) = loss.map(f64::from) {
                    self.loss = Some(self.loss.map_or(loss, |mean| 0.98 * mean + 0.02 * loss));
                }
                if self.shown.elapsed() >= REFRESH {
                    self.shown = Instant::now();
                    bar.set_position(*step);
                    let loss = self.loss.map_or(String::new(), |loss| format!("  loss {loss:.4}"));
                    bar.set_message(format!("epoch {}/{}{loss}{}", self.epoch + 1, self.epochs, self.last));
                }
            }
            Event::Epoch(record) => {
                self.epoch = record.epoch;
                self.last = figures(record, false);
                let every = self.epochs.div_ceil(LINES).max(1);
                let due =
                    record.epoch == 1 || record.epoch == self.epochs || record.epoch.is_multiple_of(every);
                match &self.style {
                    Style::Bar(bar) => bar.set_position(record.step),
                    Style::Lines if due => {
                        fail::line(&format!(
                            "epoch {}/{}{}",
                            record.epoch,
                            self.epochs,
                            figures(record, true)
                        ));
                    }
                    _ => {}
                }
            }
            Event::EarlyStop { best } if !matches!(self.style, Style::Silent) => {
                self.line(&format!("early stop after epoch {}: the best one was {best}", self.epoch));
            }
            Event::EarlyStop { .. } => {}
        }
    }

    fn line(&self, text: &str) {
        match &self.style {
            Style::Bar(bar) => bar.suspend(|| fail::line(text)),
            _ => fail::line(text),
        }
    }

    /// Takes the bar away; the last figures stay.
    pub fn finish(&self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
            if self.epoch > 0 {
                fail::line(&format!("epoch {}/{}{}", self.epoch, self.epochs, self.last));
            }
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{bar:24} {percent:>3}%  {msg}  ETA {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// The numbers of an epoch.
fn figures(record: &EpochRecord, loss: bool) -> String {
    let mut text = String::new();
    if loss {
        text += &format!("  loss {:.4}", record.train_loss);
    }
    if let Some(accuracy) = record.train_accuracy {
        text += &format!("  accuracy {:.2} %", 100.0 * accuracy);
    }
    if let Some(loss) = record.val_loss {
        text += &format!("  val loss {loss:.4}");
    }
    if let Some(accuracy) = record.val_accuracy {
        text += &format!("  val accuracy {:.2} %", 100.0 * accuracy);
    }
    if let Some(r2) = record.val_r2 {
        text += &format!("  val R2 {r2:.4}");
    }
    text + &format!("  {:.0} samples/s", record.samples_per_second)
}
