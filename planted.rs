//! Planted bugs: clean kernels, and small changes to their text that each break one rule.
//!
//! One table ([`planted::all`]) drives everything: under every seed the clean kernel must run without a finding and give the
//! results of the CPU reference, and every bug must be found, by the right rule, at the right instruction. The kernels
//! are in `tests/planted/ptx/`, hand-written and commented; the modules hold the launches, the references and the bugs by topic.

mod planted {
    mod harness;
    mod copies;
    mod mbarriers;

    use harness::Bug;

    /// Every planted bug.
    fn all() -> Vec<&'static Bug> {
        let topics = [copies::BUGS, mbarriers::BUGS];
        topics.into_iter().flatten().collect()
    }

    /// Kinds that speak of a bad request of the host, or of something the simulator cannot do: no bugs of a kernel.
    const NO_FINDINGS: [&str; 8] = [
        "MemoryLimit",
        "GlobalRace",
        "UnsupportedInstruction",
        "NoSuchKernel",
        "BadArguments",
        "BadLaunch",
        "BadAddress",
        "InvalidModule",
    ];

    /// The names of the enum's variants, from its source: the list cannot fall behind.
    fn kinds() -> Vec<&'static str> {
        let source = include_str!("../src/error.rs");
        let body = source
            .split("pub enum ErrorKind {")
            .nth(1)
            .expect("the enum")
            .split("\n}")
            .next()
            .expect("its end");
        let lines = body.lines().map(str::trim).filter(|l| l.starts_with(|c: char| c.is_ascii_uppercase()));
        lines.map(|l| l.trim_end_matches(',')).collect()
    }

    #[test]
    fn every_kind_of_finding_is_planted() {
        let hit: Vec<String> = all()
            .iter()
            .filter_map(|b| <[_; 1]>::try_from(b.expect).ok())
            .map(|[k]| format!("{k:?}"))
            .collect();
        let kinds = kinds();
        assert!(
            hit.iter().all(|h| kinds.contains(&h.as_str())),
            "the list of kinds is read wrongly: {kinds:?}"
        );
        let missing: Vec<_> =
            kinds.iter().filter(|k| !NO_FINDINGS.contains(k) && !hit.iter().any(|h| h == *k)).collect();
        assert!(missing.is_empty(), "no planted bug of kind {missing:?}");
    }

    #[test]
    fn the_corpus_is_large_and_its_names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|b| b.name).collect();
        let count = names.len();
        assert!(count >= 60, "{count} planted bugs");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "names repeat");
    }
}
