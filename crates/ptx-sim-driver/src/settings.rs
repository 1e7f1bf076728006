//! What the environment says.

use ptx_sim::profile::Gpu;
use ptx_sim::{Checks, Sim};

/// The GPU that the library is, and how it runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub gpu: Gpu,
    seed: Option<u64>,
    /// Bytes of device memory.
    pub memory: usize,
    checks: Checks,
}

impl Settings {
    /// From the environment's variables, each looked up by `variable`; the error names the one that is wrong.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, String> {
        let number = |name: &str| -> Result<Option<u64>, String> {
            let wrong = |text: &String| format!("{name}={text} is no number");
            variable(name).map(|text| text.parse().map_err(|_| wrong(&text))).transpose()
        };
        let gpu = variable("PTX_SIM_GPU").unwrap_or_else(|| Gpu::H100.name.into());
        let memory = number("PTX_SIM_MEMORY")?.unwrap_or(4096);
        Ok(Settings {
            gpu: Gpu::named(&gpu)
                .ok_or_else(|| format!("PTX_SIM_GPU={gpu} is not known: A100 and H100 are"))?,
            seed: number("PTX_SIM_SEED")?,
            memory: usize::try_from(memory << 20)
                .map_err(|_| format!("PTX_SIM_MEMORY={memory} is too much"))?,
            checks: match variable("PTX_SIM_CHECKS").as_deref() {
                None | Some("all") => Checks::all(),
                Some("none") => Checks::none(),
                Some(other) => return Err(format!("PTX_SIM_CHECKS={other}: all or none")),
            },
        })
    }

    pub fn simulator(&self) -> Sim {
        // Device memory is counted by the driver; kernels need more for what is theirs.
        let builder = Sim::builder().checks(self.checks.clone()).memory_limit(self.memory as u64 + (8 << 30));
        self.seed.map_or(builder.clone(), |seed| builder.seed(seed)).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn settings_are_read_and_errors_name_them() {
        let settings =
            read(&[("PTX_SIM_GPU", "A100"), ("PTX_SIM_MEMORY", "3"), ("PTX_SIM_SEED", "9")]).unwrap();
        assert_eq!((settings.gpu.compute, settings.memory, settings.seed), ((8, 0), 3 << 20, Some(9)));
        assert_eq!(read(&[]).unwrap().gpu.compute, (9, 0));
        for (name, value) in [
            ("PTX_SIM_GPU", "V9"),
            ("PTX_SIM_SEED", "x"),
            ("PTX_SIM_MEMORY", "-1"),
            ("PTX_SIM_CHECKS", "some"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{name}={value}")), "{error}");
        }
    }
}
