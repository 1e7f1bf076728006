//! The profile as text.

use super::{Profile, SharedTraffic, Traffic};
use std::fmt;

/// Lines in the list of the hottest.
const HOTTEST: usize = 10;

/// A number with its thousands set apart.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn percent(x: f64) -> String {
    format!("{:.1} %", 100.0 * x)
}

fn of(a: u64, b: u64) -> f64 {
    super::ratio(a, b)
}

fn global(f: &mut fmt::Formatter<'_>, name: &str, t: &Traffic, footprint: u64) -> fmt::Result {
    if t.requests == 0 {
        return Ok(());
    }
    write!(
        f,
        "{name:<17}{} requests, {:.2} sectors each (least {:.2}), {} bytes moved",
        grouped(t.requests),
        t.sectors_per_request(),
        t.ideal_per_request(),
        grouped(t.moved())
    )?;
    if footprint > 0 {
        write!(f, ", {:.1} times the {} touched", of(t.moved(), footprint), grouped(footprint))?;
    }
    writeln!(f)
}

fn shared(f: &mut fmt::Formatter<'_>, name: &str, t: &SharedTraffic) -> fmt::Result {
    if t.requests == 0 {
        return Ok(());
    }
    writeln!(
        f,
        "{name:<17}{} requests, {:.2} wavefronts each (least {:.2}), {} from bank conflicts",
        grouped(t.requests),
        t.wavefronts_per_request(),
        of(t.ideal_wavefronts, t.requests),
        grouped(t.conflicts())
    )
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([gx, gy, gz], [bx, by, bz]) = (self.grid, self.block);
        let cluster = match self.cluster {
            [0 | 1, 0 | 1, 0 | 1] => String::new(),
            [x, y, z] => format!(" in clusters of {x}x{y}x{z}"),
        };
        writeln!(
            f,
            "profile of `{}`, grid {gx}x{gy}x{gz}{cluster}, block {bx}x{by}x{bz}, {} bytes of shared memory",
            self.kernel,
            grouped(self.shared_bytes as u64)
        )?;
        writeln!(
            f,
            "instructions     {} of warps, {} of lanes",
            grouped(self.warp_instructions),
            grouped(self.lane_instructions)
        )?;
        let mut classes = self.by_class.clone();
        classes.sort_by_key(|c| std::cmp::Reverse(c.1));
        let classes: Vec<String> = classes
            .iter()
            .map(|(c, n)| {
                format!("{} {}", format!("{c:?}").to_lowercase(), percent(of(*n, self.warp_instructions)))
            })
            .collect();
        writeln!(f, "by class         {}", classes.join(", "))?;
        writeln!(
            f,
            "lanes            {} at work, {} not off by a guard alone; {} of {} branches diverge",
            percent(self.lane_efficiency()),
            percent(of(self.arrived_lanes, 32 * self.warp_instructions)),
            grouped(self.branches.divergent),
            grouped(self.branches.executed)
        )?;
        let mut flops = vec![];
        for (name, n) in [("f16", self.flops.half), ("f32", self.flops.single), ("f64", self.flops.double)] {
            if n > 0 {
                flops.push(format!("{} {name}", grouped(n)));
            }
        }
        flops.extend(self.flops.tensor.iter().map(|(ty, n)| format!("{} tensor {ty}", grouped(*n))));
        if !flops.is_empty() {
            writeln!(f, "operations       {}", flops.join(", "))?;
        }
        let g = &self.global;
        global(f, "global loads", &g.loads, g.footprint_loads)?;
        global(f, "global stores", &g.stores, g.footprint_stores)?;
        global(f, "global atomics", &g.atomics, 0)?;
        shared(f, "shared loads", &self.shared.loads)?;
        shared(f, "shared stores", &self.shared.stores)?;
        shared(f, "shared atomics", &self.shared.atomics)?;
        if self.atomics.requests > 0 {
            writeln!(
                f,
                "atomics          {} requests, {:.2} lanes per address, {} at worst",
                grouped(self.atomics.requests),
                self.atomics.lanes_per_address(),
                self.atomics.worst
            )?;
        }
        if self.local.requests > 0 {
            let (requests, bytes) = (grouped(self.local.requests), grouped(self.local.bytes));
            writeln!(f, "local memory     {requests} requests, {bytes} bytes")?;
        }
        if self.constant_requests > 0 {
            writeln!(f, "constant memory  {} requests", grouped(self.constant_requests))?;
        }
        writeln!(f, "barriers         {}", grouped(self.barriers))?;
        self.lines(f)
    }
}

impl Profile {
    fn lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: f64 = self.lines.iter().map(|l| l.cycles()).sum();
        writeln!(
            f,
            "hottest lines    cycles of schedulers or memory pipe, warp instructions, lanes at work"
        )?;
        for l in self.hottest(HOTTEST) {
            let mut notes = vec![];
            if l.global.requests > 0 {
                let (have, least) = (l.global.sectors_per_request(), l.global.ideal_per_request());
                notes.push(format!("{have:.1} sectors (least {least:.1})"));
            }
            if l.shared.requests > 0 {
                let least = of(l.shared.ideal_wavefronts, l.shared.requests);
                notes.push(format!("{:.1} wavefronts (least {least:.1})", l.shared.wavefronts_per_request()));
            }
            if l.atomics.requests > 0 {
                notes.push(format!("{:.1} lanes per address", l.atomics.lanes_per_address()));
            }
            if l.divergent_branches > 0 {
                notes.push(format!("{} divergent", percent(of(l.divergent_branches, l.warp_instructions))));
            }
            if l.local.requests > 0 {
                notes.push("local memory".into());
            }
            let lanes = of(l.lane_instructions, 32 * l.warp_instructions);
            let share = if all > 0.0 { l.cycles() / all } else { 0.0 };
            write!(
                f,
                "  {:>7}  {:>12}  {:>7}  line {:<6} {}",
                percent(share),
                grouped(l.warp_instructions),
                percent(lanes),
                l.line,
                l.text.replace('\t', " ")
            )?;
            if !notes.is_empty() {
                write!(f, "  [{}]", notes.join(", "))?;
            }
            if let Some((file, row)) = &l.source {
                let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
                write!(f, "  {name}:{row}")?;
            }
            writeln!(f)?;
        }
        let sources = self.hottest_sources(HOTTEST / 2);
        if !sources.is_empty() {
            writeln!(f, "hottest source   share of the cycles, warp instructions")?;
        }
        for (file, row, cycles, instructions) in sources {
            let share = if all > 0.0 { cycles / all } else { 0.0 };
            writeln!(f, "  {:>7}  {:>12}  {file}:{row}", percent(share), grouped(instructions))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands() {
        let texts = [0, 7, 999, 1000, 1_234_567, 100_000].map(super::grouped);
        assert_eq!(texts, ["0", "7", "999", "1,000", "1,234,567", "100,000"]);
    }
}
