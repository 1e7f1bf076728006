//! The text form of an architecture; the parent module describes it.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::{Architecture, Recipe};
use crate::nn::{Dense, Mlp, Norm, WeightInit};
use crate::ops::activation::Activation;
use crate::ops::optim::Optimizer;
use crate::search::SearchError;
use crate::search::names::unknown;
use crate::train::Schedule;

/// The shortest text that reads back as the same number; `1e-6` rather than `0.000001`.
pub(crate) fn number<T: Copy + Into<f64> + Display + fmt::LowerExp>(x: T) -> String {
    let size = x.into().abs();
    if size == 0.0 || (1e-5..1e7).contains(&size) { format!("{x}") } else { format!("{x:e}") }
}

/// Name and constants of an optimiser as words, those left out that have PyTorch's default.
pub(crate) fn optimizer_words(optimizer: &Optimizer) -> Vec<String> {
    let mut words = vec![optimizer.name().to_string()];
    let mut put = |name: &str, value: f64, default: f64| {
        // Bits are compared, so that -0 is written.
        if value.to_bits() != default.to_bits() {
            words.push(format!("{name}={}", number(value)));
        }
    };
    match *optimizer {
        Optimizer::Sgd { momentum, dampening, nesterov, weight_decay } => {
            put("momentum", momentum, 0.0);
            put("dampening", dampening, 0.0);
            put("wd", weight_decay, 0.0);
            if nesterov {
                words.insert(1, "nesterov".into());
            }
        }
        Optimizer::RmsProp { alpha, eps, momentum, weight_decay } => {
            put("alpha", alpha, 0.99);
            put("eps", eps, 1e-8);
            put("momentum", momentum, 0.0);
            put("wd", weight_decay, 0.0);
        }
        Optimizer::Adam { beta1, beta2, eps, weight_decay } => {
            put("beta1", beta1, 0.9);
            put("beta2", beta2, 0.999);
            put("eps", eps, 1e-8);
            put("wd", weight_decay, 0.0);
        }
        Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
            put("beta1", beta1, 0.9);
            put("beta2", beta2, 0.999);
            put("eps", eps, 1e-8);
            // Always written: PyTorch's default is not 0, as a reader may think.
            put("wd", weight_decay, f64::NAN);
        }
    }
    words
}

/// Sets one constant of an optimiser; `None` if it has none of that name or the value is no number.
fn set_constant(optimizer: &mut Optimizer, name: &str, value: &str) -> Option<()> {
    let place = match (optimizer, name) {
        (Optimizer::Sgd { momentum, .. } | Optimizer::RmsProp { momentum, .. }, "momentum") => momentum,
        (Optimizer::Sgd { dampening, .. }, "dampening") => dampening,
        (Optimizer::RmsProp { alpha, .. }, "alpha") => alpha,
        (Optimizer::Adam { beta1, .. } | Optimizer::AdamW { beta1, .. }, "beta1") => beta1,
        (Optimizer::Adam { beta2, .. } | Optimizer::AdamW { beta2, .. }, "beta2") => beta2,
        (
            Optimizer::RmsProp { eps, .. } | Optimizer::Adam { eps, .. } | Optimizer::AdamW { eps, .. },
            "eps",
        ) => eps,
        (
            Optimizer::Sgd { weight_decay, .. }
            | Optimizer::RmsProp { weight_decay, .. }
            | Optimizer::Adam { weight_decay, .. }
            | Optimizer::AdamW { weight_decay, .. },
            "wd",
        ) => weight_decay,
        _ => return None,
    };
    *place = value.parse().ok()?;
    Some(())
}

/// The constants that [`set_constant`] knows for an optimiser.
fn constants(optimizer: &Optimizer) -> &'static [&'static str] {
    match optimizer {
        Optimizer::Sgd { .. } => &["momentum", "dampening", "nesterov", "wd"],
        Optimizer::RmsProp { .. } => &["momentum", "alpha", "eps", "wd"],
        Optimizer::Adam { .. } | Optimizer::AdamW { .. } => &["beta1", "beta2", "eps", "wd"],
    }
}

/// Reads an optimiser's name; the error suggests the nearest.
fn optimizer_name(word: &str) -> Result<Optimizer, String> {
    word.parse().map_err(|_| unknown("optimizer", word, Optimizer::NAMES))
}

/// Takes `word` if it is a constant of the optimiser: `Ok(true)` then, `Ok(false)` if it is something else.
fn take_constant(optimizer: &mut Optimizer, word: &str) -> Result<bool, String> {
    if let (Optimizer::Sgd { nesterov, .. }, "nesterov") = (&mut *optimizer, word) {
        *nesterov = true;
        return Ok(true);
    }
    let Some((name, value)) = word.split_once('=') else { return Ok(false) };
    if !constants(optimizer).contains(&name) {
        return Ok(false);
    }
    match set_constant(optimizer, name, value) {
        Some(()) => Ok(true),
        None => Err(format!("'{word}': give a number, as in {name}=0.1")),
    }
}

/// Reads what [`optimizer_words`] writes, with spaces between.
pub(crate) fn read_optimizer(text: &str) -> Result<Optimizer, String> {
    let mut words = text.split_whitespace();
    let mut optimizer = optimizer_name(words.next().unwrap_or_default())?;
    for word in words {
        if !take_constant(&mut optimizer, word)? {
            let known = constants(&optimizer).join(", ");
            return Err(format!("'{word}' is no constant of {}: it has {known}", optimizer.name()));
        }
    }
    optimizer.check().map_err(|e| e.to_string())?;
    Ok(optimizer)
}

const INITS: [(&str, WeightInit); 3] = [
    ("torch", WeightInit::Torch),
    ("kaiming_normal", WeightInit::KaimingNormal),
    ("xavier_uniform", WeightInit::XavierUniform),
];

impl Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.net.inputs)?;
        for layer in &self.net.layers {
            write!(f, " > {}", layer.units)?;
            if layer.activation != Activation::Identity {
                write!(f, " {}", layer.activation)?;
            }
            if layer.dropout.to_bits() != 0 {
                write!(f, " drop={}", number(layer.dropout))?;
            }
            match layer.norm {
                Norm::None => {}
                Norm::Layer => f.write_str(" norm=layer")?,
                Norm::Batch => f.write_str(" norm=batch")?,
            }
            if layer.skip {
                f.write_str(" skip")?;
            }
        }
        let (r, usual) = (&self.recipe, Recipe::default());
        let words = optimizer_words(&r.optimizer);
        let (name, constants) = words.split_first().ok_or(fmt::Error)?;
        write!(f, " | {name} lr={}", number(r.learning_rate))?;
        constants.iter().try_for_each(|word| write!(f, " {word}"))?;
        write!(f, " batch={}", r.batch)?;
        if r.schedule != usual.schedule {
            write!(f, " schedule={}", r.schedule)?;
        }
        if r.warmup_epochs.to_bits() != usual.warmup_epochs.to_bits() {
            write!(f, " warmup={}", number(r.warmup_epochs))?;
        }
        if r.smoothing.to_bits() != usual.smoothing.to_bits() {
            write!(f, " smoothing={}", number(r.smoothing))?;
        }
        if let Some(norm) = r.clip_norm {
            write!(f, " clip={}", number(norm))?;
        }
        match INITS.iter().find(|(_, init)| *init == self.net.init) {
            Some((name, init)) if *init != WeightInit::default() => write!(f, " init={name}"),
            _ => Ok(()),
        }
    }
}

/// Reads one layer: its width and what follows.
fn read_layer(text: &str) -> Result<Dense, String> {
    let mut words = text.split_whitespace();
    let width = words.next().unwrap_or_default();
    let units = width.parse().map_err(|_| format!("a layer starts with its width, not '{width}'"))?;
    let mut layer = Dense::new(units, Activation::Identity);
    for word in words {
        match word.split_once('=') {
            Some(("drop", p)) => {
                layer.dropout = p.parse().map_err(|_| format!("'{word}': give a number, as in drop=0.1"))?;
            }
            Some(("norm", "none")) => layer.norm = Norm::None,
            Some(("norm", "layer")) => layer.norm = Norm::Layer,
            Some(("norm", "batch")) => layer.norm = Norm::Batch,
            Some(("norm", _)) => {
                return Err(format!("'{word}': use norm=none, norm=layer or norm=batch"));
            }
            None if word == "skip" => layer.skip = true,
            _ => {
                layer.activation = word.parse().map_err(|_| {
                    let names = Activation::ALL.map(Activation::name);
                    unknown(
                        "word after a width:",
                        word,
                        names.into_iter().chain(["drop=P", "norm=layer", "norm=batch", "skip"]),
                    )
                })?;
            }
        }
    }
    Ok(layer)
}

/// Reads what stands right of the bar; the initialiser is the network's.
fn read_recipe(text: &str) -> Result<(Recipe, WeightInit), String> {
    let mut words = text.split_whitespace();
    let (mut recipe, mut init) = (Recipe::default(), WeightInit::default());
    recipe.optimizer = optimizer_name(words.next().unwrap_or_default())?;
    for word in words {
        if take_constant(&mut recipe.optimizer, word)? {
            continue;
        }
        let bad = || format!("'{word}': the value is not one that it takes");
        match word.split_once('=') {
            Some(("lr", v)) => recipe.learning_rate = v.parse().map_err(|_| bad())?,
            Some(("batch", v)) => recipe.batch = v.parse().map_err(|_| bad())?,
            Some(("schedule", v)) => recipe.schedule = v.parse::<Schedule>()?,
            Some(("warmup", v)) => recipe.warmup_epochs = v.parse().map_err(|_| bad())?,
            Some(("smoothing", v)) => recipe.smoothing = v.parse().map_err(|_| bad())?,
            Some(("clip", v)) => recipe.clip_norm = Some(v.parse().map_err(|_| bad())?),
            Some(("init", v)) => {
                let known = INITS.iter().find(|(name, _)| *name == v);
                init = known.ok_or_else(|| format!("{}: use {}", bad(), INITS.map(|i| i.0).join(", ")))?.1;
            }
            _ => {
                let own = constants(&recipe.optimizer).iter().copied();
                let known = own.chain(["lr", "batch", "schedule", "warmup", "smoothing", "clip", "init"]);
                return Err(unknown("part of a recipe:", word.split('=').next().unwrap_or(word), known));
            }
        }
    }
    Ok((recipe, init))
}

impl FromStr for Architecture {
    type Err = SearchError;

    /// Reads the text form; without the bar the recipe is the default. Errors name the word and what may stand there, or
    /// what [`Architecture::validate`] finds.
    fn from_str(text: &str) -> Result<Architecture, SearchError> {
        let bad = |e: String| SearchError::Options(format!("architecture '{}': {e}", text.trim()));
        let (net, recipe) = text.split_once('|').map_or((text, None), |(net, recipe)| (net, Some(recipe)));
        let mut parts = net.split('>');
        let inputs = parts.next().unwrap_or_default().trim();
        let inputs = inputs.parse().map_err(|_| {
            bad(format!("it starts with the number of inputs, not '{inputs}', as in 64 > 10"))
        })?;
        let layers = parts.map(|part| read_layer(part).map_err(bad)).collect::<Result<Vec<_>, _>>()?;
        let (recipe, init) = match recipe {
            Some(text) => read_recipe(text).map_err(bad)?,
            None => (Recipe::default(), WeightInit::default()),
        };
        let architecture = Architecture { net: Mlp { inputs, layers, init }, recipe };
        architecture.validate()?;
        Ok(architecture)
    }
}

impl From<Architecture> for String {
    fn from(architecture: Architecture) -> String {
        architecture.to_string()
    }
}

impl TryFrom<String> for Architecture {
    type Error = SearchError;
    fn try_from(text: String) -> Result<Architecture, SearchError> {
        text.parse()
    }
}
