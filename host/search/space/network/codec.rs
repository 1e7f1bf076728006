//! From ranges to a generic space, and between points and architectures. All three walk over the settings in one order, so
//! that a value's place in a point need not be looked up.

use super::super::{Domain, Parameter, Point, Space, Value};
use super::{Ints, Limits, NetworkSpace, Numbers};
use crate::nn::{Dense, Mlp, Norm, WeightInit};
use crate::ops::activation::Activation;
use crate::ops::optim::Optimizer;
use crate::search::SearchError;
use crate::search::architecture::{Architecture, Recipe, optimizer_words};

/// What is done with each setting on the walk.
trait Visit {
    /// The value of a setting that is a parameter named `name` (called with the layer's number, if it has one);
    /// `None`: it does not exist here.
    fn visit(
        &mut self,
        name: &str,
        layer: Option<usize>,
        domain: &dyn Fn() -> Domain,
        exists: Exists,
    ) -> Option<Value>;
}

/// When a setting's parameter exists.
#[derive(Clone, Copy)]
enum Exists {
    Always,
    /// From this number of hidden layers on.
    Depth(usize),
    /// With SGD.
    Sgd,
}

/// Collects the parameters.
struct Collect<'a> {
    space: &'a NetworkSpace,
    parameters: Vec<Parameter>,
}

impl Visit for Collect<'_> {
    fn visit(
        &mut self,
        name: &str,
        layer: Option<usize>,
        domain: &dyn Fn() -> Domain,
        exists: Exists,
    ) -> Option<Value> {
        let name = layer.map_or(name.to_string(), |i| format!("{name}.{i}"));
        let parameter = Parameter::new(name, domain());
        let ranges = &self.space.ranges;
        self.parameters.push(match exists {
            Exists::Depth(least) if ranges.depth.bounds().0 < least => {
                parameter.when_at_least("depth", least as i64)
            }
            Exists::Sgd if ranges.optimizer.iter().any(|o| o.name() != "sgd") => {
                let sgd = ranges.optimizer.iter().filter(|o| o.name() == "sgd").map(label);
                parameter.when_one_of("optimizer", sgd)
            }
            _ => parameter,
        });
        // Every layer is walked over: the depth is the greatest.
        None
    }
}

/// Reads a point.
struct Read<'a> {
    values: std::slice::Iter<'a, Option<Value>>,
}

impl Visit for Read<'_> {
    fn visit(&mut self, _: &str, _: Option<usize>, _: &dyn Fn() -> Domain, _: Exists) -> Option<Value> {
        self.values.next().copied().flatten()
    }
}

/// How an optimiser is called in a choice: its words, without those that the space sets.
fn label(optimizer: &Optimizer) -> String {
    let mut words = optimizer_words(optimizer);
    if matches!(optimizer, Optimizer::AdamW { weight_decay: 0.01, .. }) {
        words.retain(|w| !w.starts_with("wd="));
    }
    words.join(",")
}

/// How an initialiser is called.
pub(super) fn init_name(init: WeightInit) -> &'static str {
    match init {
        WeightInit::Torch => "torch",
        WeightInit::KaimingNormal => "kaiming_normal",
        WeightInit::XavierUniform => "xavier_uniform",
    }
}

/// How a normalisation is called.
pub(super) fn norm_name(norm: Norm) -> &'static str {
    match norm {
        Norm::None => "none",
        Norm::Layer => "layer",
        Norm::Batch => "batch",
    }
}

fn pick_int(
    v: &mut dyn Visit,
    name: &str,
    layer: Option<usize>,
    ints: &Ints,
    exists: Exists,
) -> Option<usize> {
    match ints.fixed() {
        Some(value) => Some(value),
        None => v.visit(name, layer, &|| ints.domain(), exists)?.int().and_then(|i| usize::try_from(i).ok()),
    }
}

fn pick_number(v: &mut dyn Visit, name: &str, numbers: &Numbers, log: bool, exists: Exists) -> f64 {
    match numbers.fixed() {
        Some(value) => value,
        None => numbers.at(v.visit(name, None, &|| numbers.clone().settled(log).domain(), exists)),
    }
}

fn pick<T: Copy>(
    v: &mut dyn Visit,
    name: &str,
    layer: Option<usize>,
    options: &[T],
    show: impl Fn(&T) -> String,
    exists: Exists,
) -> Option<T> {
    if let [only] = options {
        return Some(*only);
    }
    match v.visit(name, layer, &|| Domain::choice(options.iter().map(&show)), exists) {
        Some(Value::Choice(i)) => options.get(i as usize).or(options.first()).copied(),
        _ => options.first().copied(),
    }
}

impl NetworkSpace {
    /// Visits every setting in order and puts together the architecture that the visitor's answers make.
    fn walk(&self, v: &mut dyn Visit) -> Architecture {
        let r = &self.ranges;
        let most = r.depth.bounds().1;
        let depth = pick_int(v, "depth", None, &r.depth, Exists::Always).unwrap_or(r.depth.bounds().0);
        // Layers beyond the depth are visited too: their parameters are there, without values.
        let hidden = if most == 0 { 0 } else { 1 };
        let width_of = |v: &mut dyn Visit, layer: Option<usize>, least: usize| {
            pick_int(v, "width", layer, &r.width, Exists::Depth(least)).unwrap_or(r.width.bounds().0)
        };
        let widths: Vec<usize> = if r.shared_width {
            let width = if hidden == 1 { width_of(v, None, 1) } else { 0 };
            vec![width; most]
        } else {
            (0..most).map(|i| width_of(v, Some(i), i + 1)).collect()
        };
        let activation_of = |v: &mut dyn Visit, layer: Option<usize>, least: usize| {
            pick(v, "activation", layer, &r.activation, Activation::to_string, Exists::Depth(least))
                .unwrap_or(Activation::Identity)
        };
        let activations: Vec<Activation> = if r.shared_activation && hidden == 1 {
            vec![activation_of(v, None, 1); most]
        } else {
            (0..most).map(|i| activation_of(v, Some(i), i + 1)).collect()
        };
        let yes_no = |yes: &bool| if *yes { "yes" } else { "no" }.to_string();
        let mut skip_of = |i: usize| {
            pick(v, "skip", Some(i), &[false, true], yes_no, Exists::Depth(i + 1)).unwrap_or(false)
        };
        let skips: Vec<bool> = (0..most).map(|i| r.skip && i > 0 && skip_of(i)).collect();
        let (mut dropout, mut norm) = (0.0, Norm::None);
        if hidden == 1 {
            dropout = pick_number(v, "dropout", &r.dropout, false, Exists::Depth(1));
            norm = pick(v, "norm", None, &r.norm, |n| norm_name(*n).into(), Exists::Depth(1))
                .unwrap_or_default();
        }
        let always = Exists::Always;
        let init = pick(v, "init", None, &r.init, |i| init_name(*i).into(), always).unwrap_or_default();
        let base = Recipe::default();
        let mut optimizer = pick(v, "optimizer", None, &r.optimizer, label, always).unwrap_or(base.optimizer);
        if let Some(numbers) = &r.momentum
            && r.optimizer.iter().any(|o| o.name() == "sgd")
        {
            let momentum = pick_number(v, "momentum", numbers, false, Exists::Sgd);
            if optimizer.name() == "sgd" {
                optimizer = optimizer.with_momentum(momentum);
            }
        }
        let learning_rate = pick_number(v, "lr", &r.lr, true, always);
        if let Some(numbers) = &r.weight_decay {
            optimizer = optimizer.with_weight_decay(pick_number(v, "weight_decay", numbers, true, always));
        }
        let batch = pick_int(v, "batch", None, &r.batch, always).unwrap_or(r.batch.bounds().0);
        let schedule = pick(v, "schedule", None, &r.schedule, |s| s.to_string(), always).unwrap_or_default();
        let smoothing = pick_number(v, "smoothing", &r.smoothing, false, always) as f32;

        let layer = |i: usize| Dense {
            dropout: dropout as f32,
            norm,
            skip: skips[i],
            ..Dense::new(widths[i], activations[i])
        };
        let mut layers: Vec<Dense> = (0..depth.min(most)).map(layer).collect();
        layers.push(Dense::new(self.outputs, Activation::Identity));
        let net = Mlp { inputs: self.inputs, layers, init };
        let recipe = Recipe { optimizer, learning_rate, batch, schedule, smoothing, ..base };
        Architecture { net, recipe }.canonical()
    }

    /// The generic space, with the limits attached. Errors name the setting: an empty range, a number out of range, a limit
    /// on latency without a model. Limits that nothing meets show when a point is drawn.
    pub fn space(&self) -> Result<Space, SearchError> {
        self.check()?;
        if self.needs_latency() {
            return Err(SearchError::Space(
                "max_latency needs a model of latencies: calibrate one, or give latency_model".into(),
            ));
        }
        let mut collect = Collect { space: self, parameters: vec![] };
        self.walk(&mut collect);
        if collect.parameters.is_empty() {
            return Err(SearchError::Space(
                "the search space holds a single network: give at least one setting more than one value"
                    .into(),
            ));
        }
        let space = Space::new(collect.parameters)?;
        let largest = self.ranges.batch.bounds().1;
        let rows = self.rows.filter(|rows| *rows < largest);
        if self.ranges.limits == Limits::default() && rows.is_none() {
            return Ok(space);
        }
        let (networks, latency) = (self.clone(), self.latency_in_force());
        Ok(space.allow(move |_, point| {
            let architecture = networks.decode(point);
            let batch = architecture.recipe.batch;
            match rows {
                Some(rows) if batch > rows => {
                    Err(format!("a batch of {batch} exceeds the {rows} rows to train on"))
                }
                _ => networks.ranges.limits.check(&architecture, latency.as_ref()),
            }
        }))
    }

    /// The architecture that a point of [`space`](NetworkSpace::space) stands for, in canonical form. A value that lacks
    /// counts as the first of its range.
    pub fn decode(&self, point: &Point) -> Architecture {
        self.walk(&mut Read { values: point.0.iter() })
    }

    /// A point that [`decode`](NetworkSpace::decode)s to this architecture (in its canonical form); `None` if the space has
    /// none. Limits are not asked.
    pub fn encode(&self, architecture: &Architecture) -> Option<Point> {
        let (target, space) = (architecture.canonical(), self.plain().space().ok()?);
        // Two optimisers of the space can be one under canonical form (adam and adamw without decay): each is tried.
        self.ranges.optimizer.iter().find_map(|optimizer| {
            let mut fits = true;
            let point = space.build(|i, _| {
                let p = &space.parameters()[i];
                let value = self.value_for(&p.name, &target, optimizer).filter(|v| p.domain.contains(*v));
                fits &= value.is_some();
                value.unwrap_or_else(|| p.domain.at(0.5))
            });
            (fits && self.decode(&point) == target).then_some(point)
        })
    }

    /// The same without limits.
    fn plain(&self) -> NetworkSpace {
        let mut plain = self.clone();
        plain.ranges.limits = Limits::default();
        plain.rows = None;
        plain
    }

    /// The value of a parameter in the point for `target`, whose optimiser is to be the option `optimizer`.
    fn value_for(&self, name: &str, target: &Architecture, optimizer: &Optimizer) -> Option<Value> {
        let r = &self.ranges;
        let (kind, layer) = match name.split_once('.') {
            Some((kind, layer)) => (kind, layer.parse().ok()?),
            None => (name, 0usize),
        };
        let int = |x: usize| i64::try_from(x).ok().map(Value::Int);
        fn choice<T: PartialEq>(options: &[T], value: &T) -> Option<Value> {
            options.iter().position(|o| o == value).map(|i| Value::Choice(i as u32))
        }
        let (recipe, hidden) = (&target.recipe, target.net.layers.len().checked_sub(1)?);
        let dense = &target.net.layers[layer.min(hidden)];
        match kind {
            "depth" => int(hidden),
            "width" => int(dense.units),
            "activation" => {
                let same = |a: &Activation| canonical_activation(*a) == dense.activation;
                r.activation.iter().position(same).map(|i| Value::Choice(i as u32))
            }
            "skip" => choice(&[false, true], &dense.skip),
            "dropout" => as_f64(&r.dropout, dense.dropout),
            "norm" => choice(&r.norm, &dense.norm),
            "init" => choice(&r.init, &target.net.init),
            "optimizer" => choice(&r.optimizer, optimizer),
            "momentum" => match recipe.optimizer {
                Optimizer::Sgd { momentum, .. } => r.momentum.as_ref()?.value_of(momentum),
                _ => None,
            },
            "lr" => r.lr.value_of(recipe.learning_rate),
            "weight_decay" => r.weight_decay.as_ref()?.value_of(weight_decay(&recipe.optimizer)),
            "batch" => int(recipe.batch),
            "schedule" => choice(&r.schedule, &recipe.schedule),
            "smoothing" => as_f64(&r.smoothing, recipe.smoothing),
            _ => None,
        }
    }
}

/// The activation that canonical form makes of `a`.
fn canonical_activation(a: Activation) -> Activation {
    let net = Mlp { inputs: 1, layers: vec![Dense::new(1, a)], init: WeightInit::default() };
    Architecture { net, recipe: Recipe::default() }.canonical().net.layers[0].activation
}

/// The value for a number that a network holds as f32: of the shortest decimal that reads as it, as ranges are written.
fn as_f64(numbers: &Numbers, x: f32) -> Option<Value> {
    numbers.value_of(x.to_string().parse().ok()?)
}

fn weight_decay(optimizer: &Optimizer) -> f64 {
    let (Optimizer::Sgd { weight_decay, .. }
    | Optimizer::RmsProp { weight_decay, .. }
    | Optimizer::Adam { weight_decay, .. }
    | Optimizer::AdamW { weight_decay, .. }) = *optimizer;
    weight_decay
}
