//! Planted bugs: clean kernels, and small changes to their text that each break one rule.
//!
//! One table ([`planted::all`]) drives everything: under every seed the clean kernel must run without a finding and give the
//! results of the CPU reference, and every bug must be found, by the right rule, at the right instruction. The kernels
//! are in `tests/planted/ptx/`, hand-written and commented; the modules hold the launches, the references and the bugs by topic.

mod planted {
    mod bounds;
    mod calls;
    mod cluster;
    mod copies;
    mod grid;
    mod harness;
    mod mbarriers;
    mod named;
    mod shared;
    mod tensor_cores;
    mod warps;
    mod wgmma;

    use harness::Bug;
    use ptx_sim::ErrorKind;

    /// Every planted bug.
    fn all() -> Vec<&'static Bug> {
        let topics = [
            bounds::BUGS,
            calls::BUGS,
            cluster::BUGS,
            copies::BUGS,
            grid::BUGS,
            mbarriers::BUGS,
            named::BUGS,
            shared::BUGS,
            tensor_cores::BUGS,
            warps::BUGS,
            wgmma::BUGS,
        ];
        topics.into_iter().flatten().collect()
    }

    /// Kinds that speak of a bad request of the host, or of what the simulator cannot do: no bugs of a kernel.
    const NO_FINDINGS: [ErrorKind; 7] = [
        ErrorKind::UnsupportedInstruction,
        ErrorKind::MemoryLimit,
        ErrorKind::NoSuchKernel,
        ErrorKind::BadArguments,
        ErrorKind::BadLaunch,
        ErrorKind::BadAddress,
        ErrorKind::InvalidModule,
    ];

    #[test]
    fn every_kind_of_finding_is_planted() {
        // A bug that several rules may find stands for none of them.
        let planted: Vec<&[ErrorKind]> = all().iter().map(|b| b.expect).collect();
        let missing: Vec<_> = ErrorKind::ALL
            .iter()
            .filter(|k| !NO_FINDINGS.contains(k) && !planted.contains(&&[**k][..]))
            .collect();
        assert!(missing.is_empty(), "no planted bug of kind {missing:?}");
    }

    #[test]
    fn the_corpus_is_large_and_its_names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|b| b.name).collect();
        let count = names.len();
        println!("{count} planted bugs");
        assert!(count >= 60, "{count} planted bugs");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "names repeat");
    }
}
