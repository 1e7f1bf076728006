//! Random reports, hostile ones too: markup in every text, numbers that are none, no trials, all failed, all equal.

use ironwarp::nn::{self, Norm};
use ironwarp::ops::activation::Activation;
use ironwarp::report::SearchReport;
use ironwarp::report::search::{Baseline, BestModel, DataSummary, ScoreRow};
use ironwarp::search::estimate::Estimate;
use ironwarp::search::importance::{Importance, importance};
use ironwarp::search::rng::Rng;
use ironwarp::search::space::{Domain, Parameter, Space};
use ironwarp::search::trial::{Report, State, Trial};
use ironwarp::search::{Direction, Goal, Setting};
use ironwarp::train::{EpochRecord, History};
use proptest::prelude::*;

/// What a report is drawn with: the same choice gives the same report.
struct Draw {
    rng: Rng,
    /// How wild numbers are: 0 tame, 1 all alike, 2 anything.
    mood: usize,
}

impl Draw {
    fn number(&mut self) -> f64 {
        let wild = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0,
            -0.0,
            1e300,
            -1e300,
            1e-300,
            5e-324,
            -3.0,
            1e18,
        ];
        match self.mood {
            0 => self.rng.uniform(),
            1 => 0.5,
            _ if self.rng.uniform() < 0.4 => wild[self.rng.below(wild.len())],
            _ => self.rng.normal() * 10f64.powi(self.rng.below(12) as i32 - 6),
        }
    }

    fn numbers(&mut self, most: usize) -> Vec<f64> {
        (0..self.rng.below(most + 1)).map(|_| self.number()).collect()
    }

    fn estimate(&mut self) -> Option<Estimate> {
        let values = self.numbers(6);
        Estimate::of(values)
    }

    /// Text with markup, quotes, control characters, wide and combining letters.
    fn text(&mut self) -> String {
        let parts = [
            "<evil>",
            "&evil;",
            "\"evil\"",
            "'quoted'",
            "]]>",
            "<!--",
            "</script>",
            "</svg>",
            "relu",
            "lr",
            " ",
            "\n",
            "\u{1}",
            "\u{1b}[31m",
            "漢字",
            "e\u{301}",
            "a_long_word_without_any_break_in_it_at_all",
            "%",
            "\\",
            "𝛼",
            "=",
        ];
        (0..self.rng.below(6)).map(|_| parts[self.rng.below(parts.len())]).collect()
    }

    /// A word that a space takes: no white space, no `=`, none twice.
    fn word(&mut self, i: usize) -> String {
        let text: String =
            self.text().chars().filter(|c| !c.is_whitespace() && *c != '=' && !c.is_control()).collect();
        format!("{text}{i}")
    }

    fn domain(&mut self) -> Domain {
        match self.rng.below(7) {
            0 => Domain::int(-3, 40),
            1 => Domain::log_int(1, 100_000),
            2 => Domain::float(-1e12, 1e-3),
            3 => Domain::log_float(1e-9, 1e6),
            4 => Domain::levels((0..1 + self.rng.below(60) as i64).map(|i| i * i)),
            5 => Domain::float(0.25, 0.25),
            _ => {
                let n = 1 + self.rng.below(40);
                let options: Vec<String> = (0..n).map(|i| self.word(i)).collect();
                Domain::choice(options)
            }
        }
    }

    fn space(&mut self) -> Space {
        let mut parameters = vec![Parameter::new("depth", Domain::int(1, 3))];
        for i in 0..self.rng.below(16) {
            let parameter = Parameter::new(self.word(i), self.domain());
            let when = self.rng.below(3) == 0;
            parameters.push(if when { parameter.when_at_least("depth", 2) } else { parameter });
        }
        Space::new(parameters).expect("a space")
    }

    fn trial(&mut self, setting: &Setting, number: u64, only: Option<State>) -> Trial {
        let point = setting.space.draw(&mut self.rng).expect("a point");
        let mut trial = Trial::new(number, point);
        let states = [State::Complete, State::Complete, State::Pruned, State::Failed, State::Running];
        trial.state = only.unwrap_or(states[self.rng.below(states.len())]);
        let steps = self.rng.below(setting.steps as usize + 1) as u64;
        trial.reports = (1..=steps).map(|step| Report { step, value: self.number() }).collect();
        if matches!(trial.state, State::Complete | State::Pruned) {
            // Too few values too: what an older study might hold.
            let n = if self.rng.below(8) == 0 { 0 } else { setting.goals.len() };
            trial.values = (0..n).map(|_| self.number()).collect();
        }
        if self.rng.below(2) == 0 {
            trial.reason = Some(self.text());
        }
        trial.attributes.insert("params".into(), self.number());
        trial.seconds = self.number();
        trial
    }

    fn best(&mut self, trials: usize) -> BestModel {
        let activations = [Activation::Relu, Activation::LeakyRelu(0.123), Activation::GeluTanh];
        let widths: Vec<usize> = (0..self.rng.below(14)).map(|_| 1 + self.rng.below(5000)).collect();
        let mut net =
            nn::mlp(1 + self.rng.below(3000), widths, activations[self.rng.below(3)], 1 + self.rng.below(20));
        for layer in &mut net.layers {
            layer.norm = [Norm::None, Norm::Layer, Norm::Batch][self.rng.below(3)];
            layer.skip = self.rng.below(3) == 0;
            layer.dropout = [0.0, 0.1, 1.0 / 3.0][self.rng.below(3)];
        }
        let classes = self.rng.below(48);
        let epochs = (1..=self.rng.below(30)).map(|epoch| EpochRecord {
            epoch,
            step: epoch as u64,
            learning_rate: self.number(),
            train_loss: self.number(),
            train_accuracy: (self.rng.below(2) == 0).then(|| self.number()),
            val_loss: (self.rng.below(2) == 0).then(|| self.number()),
            val_accuracy: (self.rng.below(2) == 0).then(|| self.number()),
            val_r2: (self.rng.below(2) == 0).then(|| self.number()),
            seconds: 0.1,
            samples_per_second: 1.0,
        });
        let epochs: Vec<EpochRecord> = epochs.collect();
        BestModel {
            trial: (self.rng.below(2) == 0).then(|| self.rng.below(trials + 2) as u64),
            architecture: self.text(),
            recipe: (0..self.rng.below(9)).map(|_| (self.text(), self.text())).collect(),
            net,
            validation: self.estimate(),
            test: self.estimate(),
            confusion: (0..classes)
                .map(|_| (0..classes).map(|_| self.rng.u32() >> (8 * self.rng.below(5)).min(31)).collect())
                .collect(),
            history: History { epochs },
        }
    }

    fn report(&mut self, n: usize, only: Option<State>) -> SearchReport {
        let names = ["accuracy", "params", "loss"];
        let goals = (0..1 + self.rng.below(3))
            .map(|i| Goal {
                name: if self.rng.below(4) == 0 { self.text() } else { names[i].into() },
                direction: [Direction::Maximize, Direction::Minimize][self.rng.below(2)],
            })
            .collect();
        let steps = 1 + self.rng.below(90) as u64;
        let setting = Setting { space: self.space(), goals, seed: 3, steps, lag: 1 };
        let trials: Vec<Trial> = (0..n as u64).map(|i| self.trial(&setting, i, only)).collect();
        let mut rows = importance(&setting, &trials);
        if self.rng.below(3) == 0 {
            rows.push(Importance { name: Some(self.text()), share: self.number() });
        }
        let scores = (0..self.rng.below(16))
            .map(|_| ScoreRow {
                name: self.text(),
                rho: self.number(),
                low: self.number(),
                high: self.number(),
                n: self.rng.below(100),
                used: self.rng.below(2) == 0,
                why: self.text(),
            })
            .collect();
        SearchReport {
            title: self.text(),
            data: DataSummary {
                name: self.text(),
                classes: (0..self.rng.below(48)).map(|_| self.text()).collect(),
                test: self.rng.below(20),
                folds: self.rng.below(6),
                ..DataSummary::default()
            },
            command: self.text(),
            device: self.text(),
            workers: 2,
            seeds: vec![1, 2],
            // Indices of no trial too.
            front: (0..self.rng.below(20)).map(|_| self.rng.below(n + 3)).collect(),
            importance: rows,
            final_measure: setting.goals.first().expect("a goal").into(),
            best: (self.rng.below(4) > 0).then(|| self.best(n)),
            baseline: (self.rng.below(4) > 0).then(|| Baseline {
                name: self.text(),
                validation: self.estimate(),
                test: self.estimate(),
            }),
            setting,
            trials,
            sampler: self.text(),
            pruner: self.text(),
            scores,
            seconds: self.number(),
            final_seconds: self.number(),
            study: (self.rng.below(2) == 0).then(|| self.text()),
            notes: vec![self.text()],
        }
    }
}

/// Reports of 0, 1 or many trials.
pub fn reports() -> impl Strategy<Value = SearchReport> {
    let trials = prop_oneof![Just(0usize), Just(1), 2usize..60];
    let only = prop_oneof![
        3 => Just(None),
        1 => Just(Some(State::Failed)),
        1 => Just(Some(State::Complete)),
        1 => Just(Some(State::Pruned)),
        1 => Just(Some(State::Running)),
    ];
    (any::<u64>(), 0usize..3, trials, only)
        .prop_map(|(seed, mood, n, only)| Draw { rng: Rng::new(seed, 0, 0), mood }.report(n, only))
}
