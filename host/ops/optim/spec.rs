//! Which optimiser, with its constants; names and defaults are PyTorch's.

use std::fmt;
use std::str::FromStr;

use gpu_kernels::optim::{DECAY, GRAD_WEIGHT, HYPER_LEN, INV_SQRT_BIAS2, LR, STEP_SIZE};
use serde::{Deserialize, Serialize};

use crate::ops::OpError;

/// An optimiser and its constants. The learning rate is not among them: it changes from step to step and reaches the
/// operation through [`Optimizer::hyper`]. Constants are `f64`, as in PyTorch, so that `1 - beta` keeps its digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent (`torch.optim.SGD`).
    Sgd {
        /// Weight of the past in the momentum buffer; 0: no buffer.
        momentum: f64,
        /// What the gradient's weight in the buffer lacks from 1, after the first step.
        dampening: f64,
        /// Look ahead along the buffer; needs momentum and no dampening.
        nesterov: bool,
        /// Added to the gradient: `weight_decay * parameter`.
        weight_decay: f64,
    },
    /// RMSprop (`torch.optim.RMSprop`, not centred).
    RmsProp {
        /// Weight of the past in the mean of squared gradients.
        alpha: f64,
        /// Added to the root.
        eps: f64,
        /// Weight of the past in the momentum buffer; 0: no buffer.
        momentum: f64,
        /// Added to the gradient: `weight_decay * parameter`.
        weight_decay: f64,
    },
    /// Adam (Kingma and Ba 2015; `torch.optim.Adam`).
    Adam {
        /// Weight of the past in the mean gradient.
        beta1: f64,
        /// Weight of the past in the mean squared gradient.
        beta2: f64,
        /// Added to the root.
        eps: f64,
        /// Added to the gradient: `weight_decay * parameter`.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019; `torch.optim.AdamW`).
    AdamW {
        /// Weight of the past in the mean gradient.
        beta1: f64,
        /// Weight of the past in the mean squared gradient.
        beta2: f64,
        /// Added to the root.
        eps: f64,
        /// Each step first shrinks the parameter by `learning rate * weight_decay` of itself.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// The names that [`FromStr`] takes.
    pub const NAMES: [&'static str; 4] = ["sgd", "rmsprop", "adam", "adamw"];

    /// SGD without momentum or decay.
    pub const fn sgd() -> Optimizer {
        Optimizer::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false, weight_decay: 0.0 }
    }
    /// RMSprop with alpha 0.99, eps 1e-8.
    pub const fn rmsprop() -> Optimizer {
        Optimizer::RmsProp { alpha: 0.99, eps: 1e-8, momentum: 0.0, weight_decay: 0.0 }
    }
    /// Adam with betas 0.9 and 0.999, eps 1e-8.
    pub const fn adam() -> Optimizer {
        Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
    /// AdamW with betas 0.9 and 0.999, eps 1e-8, weight decay 0.01.
    pub const fn adamw() -> Optimizer {
        Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }

    /// With this momentum (SGD and RMSprop; the others have none to set).
    pub fn with_momentum(mut self, value: f64) -> Optimizer {
        if let Optimizer::Sgd { momentum, .. } | Optimizer::RmsProp { momentum, .. } = &mut self {
            *momentum = value;
        }
        self
    }

    /// With Nesterov's look-ahead (SGD).
    pub fn with_nesterov(mut self) -> Optimizer {
        if let Optimizer::Sgd { nesterov, .. } = &mut self {
            *nesterov = true;
        }
        self
    }

    /// With this weight decay.
    pub fn with_weight_decay(mut self, value: f64) -> Optimizer {
        let (Optimizer::Sgd { weight_decay, .. }
        | Optimizer::RmsProp { weight_decay, .. }
        | Optimizer::Adam { weight_decay, .. }
        | Optimizer::AdamW { weight_decay, .. }) = &mut self;
        *weight_decay = value;
        self
    }

    /// With these betas (Adam and AdamW).
    pub fn with_betas(mut self, first: f64, second: f64) -> Optimizer {
        if let Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } = &mut self {
            (*beta1, *beta2) = (first, second);
        }
        self
    }

    /// The name: one of [`Optimizer::NAMES`].
    pub const fn name(&self) -> &'static str {
        match self {
            Optimizer::Sgd { .. } => "sgd",
            Optimizer::RmsProp { .. } => "rmsprop",
            Optimizer::Adam { .. } => "adam",
            Optimizer::AdamW { .. } => "adamw",
        }
    }

    /// The learning rate that PyTorch defaults to.
    pub const fn default_lr(&self) -> f64 {
        match self {
            Optimizer::RmsProp { .. } => 1e-2,
            _ => 1e-3,
        }
    }

    /// The names of the tensors, each of a parameter's shape, that it keeps for each parameter; zeros at first.
    pub fn moment_names(&self) -> &'static [&'static str] {
        match *self {
            Optimizer::Sgd { momentum: 0.0, .. } => &[],
            Optimizer::Sgd { .. } => &["momentum_buffer"],
            Optimizer::RmsProp { momentum: 0.0, .. } => &["square_avg"],
            Optimizer::RmsProp { .. } => &["square_avg", "momentum_buffer"],
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// How many tensors it keeps for each parameter.
    pub fn moments(&self) -> usize {
        self.moment_names().len()
    }

    /// The weight decay that is added to the gradient.
    pub(in crate::ops) fn coupled_weight_decay(&self) -> f64 {
        match *self {
            Optimizer::Sgd { weight_decay, .. }
            | Optimizer::RmsProp { weight_decay, .. }
            | Optimizer::Adam { weight_decay, .. } => weight_decay,
            Optimizer::AdamW { .. } => 0.0,
        }
    }

    /// What the operation's `hyper` input holds at step `step` (counted from 1) with learning rate `lr`; the meaning of
    /// each number stands in `gpu_kernels::optim`. Computed in `f64`.
    pub fn hyper(&self, step: u64, lr: f64) -> [f32; HYPER_LEN] {
        let mut hyper = [0.0; HYPER_LEN];
        let mut set = |index: usize, value: f64| hyper[index] = value as f32;
        set(LR, lr);
        set(STEP_SIZE, lr);
        set(INV_SQRT_BIAS2, 1.0);
        set(DECAY, 1.0);
        set(GRAD_WEIGHT, 1.0);
        match *self {
            Optimizer::Sgd { dampening, .. } if step > 1 => set(GRAD_WEIGHT, 1.0 - dampening),
            Optimizer::Sgd { .. } | Optimizer::RmsProp { .. } => {}
            Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
                let t = step.max(1) as f64;
                set(STEP_SIZE, lr / (1.0 - beta1.powf(t)));
                set(INV_SQRT_BIAS2, 1.0 / (1.0 - beta2.powf(t)).sqrt());
                if let Optimizer::AdamW { weight_decay, .. } = *self {
                    set(DECAY, 1.0 - lr * weight_decay);
                }
            }
        }
        hyper
    }

    /// Refuses constants out of PyTorch's ranges.
    pub fn check(&self) -> Result<(), OpError> {
        let fail = |what: &str, value: f64, range: &str| {
            Err(OpError::attribute(self.name(), format!("{what} {value} must be {range}")))
        };
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        let size = |x: f64| x >= 0.0 && x.is_finite();
        let (Optimizer::Sgd { weight_decay, .. }
        | Optimizer::RmsProp { weight_decay, .. }
        | Optimizer::Adam { weight_decay, .. }
        | Optimizer::AdamW { weight_decay, .. }) = *self;
        if !size(weight_decay) {
            return fail("weight_decay", weight_decay, "finite and not negative");
        }
        match *self {
            Optimizer::Sgd { momentum, dampening, nesterov, .. } => {
                if !size(momentum) {
                    return fail("momentum", momentum, "finite and not negative");
                }
                if !dampening.is_finite() {
                    return fail("dampening", dampening, "finite");
                }
                if nesterov && (momentum == 0.0 || dampening != 0.0) {
                    let reason = "nesterov needs a momentum above 0 and no dampening";
                    return Err(OpError::attribute("sgd", reason));
                }
            }
            Optimizer::RmsProp { alpha, eps, momentum, .. } => {
                if !fraction(alpha) {
                    return fail("alpha", alpha, "in [0, 1)");
                }
                if !size(eps) {
                    return fail("eps", eps, "finite and not negative");
                }
                if !size(momentum) {
                    return fail("momentum", momentum, "finite and not negative");
                }
            }
            Optimizer::Adam { beta1, beta2, eps, .. } | Optimizer::AdamW { beta1, beta2, eps, .. } => {
                if !fraction(beta1) {
                    return fail("beta1", beta1, "in [0, 1)");
                }
                if !fraction(beta2) {
                    return fail("beta2", beta2, "in [0, 1)");
                }
                if !size(eps) {
                    return fail("eps", eps, "finite and not negative");
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Optimizer {
    type Err = OpError;

    /// The optimiser of that name with its defaults; SGD comes without momentum.
    fn from_str(name: &str) -> Result<Optimizer, OpError> {
        match name {
            "sgd" => Ok(Optimizer::sgd()),
            "rmsprop" => Ok(Optimizer::rmsprop()),
            "adam" => Ok(Optimizer::adam()),
            "adamw" => Ok(Optimizer::adamw()),
            _ => Err(OpError::attribute(
                "optimizer",
                format!("unknown optimizer '{name}': use {}", Optimizer::NAMES.join(", ")),
            )),
        }
    }
}
