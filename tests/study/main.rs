//! Studies: the same whatever runs them, whole whatever happens, and nobody else's file touched.

mod ask;
mod files;
mod same;

use std::path::{Path, PathBuf};

use ironwarp::search::pruner::{Cutoff, Cutoffs, Pruner};
use ironwarp::search::sampler::Sampler;
use ironwarp::search::space::{Domain, Parameter, Point, Space};
use ironwarp::search::study::{Failure, Identity, Running, Study, Values, Verdict, Worker};
use ironwarp::search::trial::Trial;
use ironwarp::search::{Goal, SearchError, Setting, rng::Rng};

fn space() -> Space {
    Space::new(vec![
        Parameter::new("depth", Domain::int(1, 3)),
        Parameter::new("width.1", Domain::levels([16, 32, 64])).when_at_least("depth", 2),
        Parameter::new("lr", Domain::log_float(1e-4, 1e-1)),
        Parameter::new("act", Domain::choice(["relu", "tanh"])),
    ])
    .expect("a space")
}

/// Steps of a trial.
const STEPS: u64 = 4;

fn setting(seed: u64, lag: u64) -> Setting {
    let goals = vec![Goal::maximize("accuracy"), Goal::minimize("params")];
    Setting { space: space(), goals, seed, steps: STEPS, lag }
}

fn identity() -> Identity {
    Identity {
        sampler: "climb".into(),
        pruner: "half".into(),
        data: "digits".into(),
        data_hash: 0xfeed_f00d_0123_4567,
        objective: "folds 1".into(),
        about: serde_json::json!({"command": ["search", "digits"]}),
    }
}

/// Proposes what depends on every trial that it was told, so that a trial too many or too few shows.
#[derive(Default)]
struct Climb {
    best: Option<(f64, Point)>,
    told: u64,
    sum: u64,
}

impl Sampler for Climb {
    fn name(&self) -> &'static str {
        "climb"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        assert_eq!(trial.number, self.told, "told in order, each once");
        assert!(trial.state.is_finished());
        self.told += 1;
        let loss = setting.losses(trial)[0];
        self.sum = self.sum.wrapping_mul(31).wrapping_add(loss.to_bits() ^ trial.reports.len() as u64);
        if self.best.as_ref().is_none_or(|(best, _)| loss < *best) {
            self.best = Some((loss, trial.point.clone()));
        }
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        assert_eq!(self.told, setting.visible(number), "told exactly what trial {number} may depend on");
        let mut rng = Rng::new(setting.seed ^ self.sum, 1000, number);
        let mut point = setting.space.draw(&mut rng)?;
        if let (Some((_, best)), true) = (&self.best, rng.uniform() < 0.5) {
            let at = rng.below(best.0.len());
            let fresh = std::mem::replace(&mut point, best.clone());
            point.0[at] = fresh.0[at].or(point.0[at]);
            point = setting.space.mend(&point, &mut rng);
        }
        Ok(point)
    }
}

/// The bar at half the steps is the mean there of what it was told.
#[derive(Default)]
struct Half {
    sum: f64,
    count: u64,
}

impl Pruner for Half {
    fn name(&self) -> &'static str {
        "half"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        if let Some(value) = trial.at(setting.steps / 2) {
            self.sum += value;
            self.count += 1;
        }
    }

    fn cutoffs(&mut self, setting: &Setting, _: u64) -> Cutoffs {
        let bar = Cutoff { step: setting.steps / 2, value: self.sum / self.count as f64, best: false };
        Cutoffs(if self.count >= 3 { vec![bar] } else { vec![] })
    }
}

fn worker(study: &Study) -> Worker {
    study.worker(Box::new(Climb::default()), Box::new(Half::default()))
}

/// A learning curve with noise of its own; one trial in nine fails, one in thirteen diverges.
fn objective(trial: &mut Running) -> Result<Values, Failure> {
    let mut rng = Rng::new(trial.setting().seed, 2000, trial.number());
    let lr = trial.value("lr").and_then(|v| v.number()).ok_or("no lr")?;
    let depth = trial.value("depth").and_then(|v| v.int()).ok_or("no depth")?;
    let params = 100.0 * depth as f64 + trial.value("width.1").and_then(|v| v.number()).unwrap_or(0.0);
    trial.attribute("params", params);
    trial.attribute("noise", rng.normal());
    if trial.number() % 9 == 8 {
        return Err("too large for the memory".into());
    }
    let peak = 0.9 - 0.05 * (lr.log10() + 2.5).powi(2) + 0.02 * depth as f64;
    let mut value = 0.0;
    for step in 1..=trial.setting().steps {
        value = peak * (1.0 - 0.5f64.powi(step as i32)) + 0.01 * rng.normal();
        match trial.report(step, value) {
            Verdict::Continue => {}
            Verdict::Prune => break,
            Verdict::Stop => return Err(Failure::Stopped),
        }
    }
    Ok(vec![if trial.number() % 13 == 12 { f64::NAN } else { value }, params])
}

/// The trials without how long they took, to the last bit.
fn trials(study: &Study) -> Vec<String> {
    let trials = study.trials().expect("trials");
    trials.into_iter().map(|trial| format!("{:?}", Trial { seconds: 0.0, ..trial })).collect()
}

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("study.db");
    (dir, path)
}

fn resume(path: &Path, seed: u64, lag: u64) -> Result<Study, SearchError> {
    Study::create_or_resume(path, setting(seed, lag), identity())
}
