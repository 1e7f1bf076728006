//! Which vector instructions the processor has. The crate is compiled for any x86-64; what runs most of the time (the inner
//! loop, arithmetic on lanes) exists once more for AVX2 and once more for AVX-512, chosen while running.

/// The widest instructions to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// What every processor of the target has.
    Base,
    /// x86-64-v3, without what lanes have no use for.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64-v4, without what lanes have no use for.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The level of this machine. Cheap: the standard library remembers what it detected.
#[inline]
pub(crate) fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx2") && has!("fma") && has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("popcnt") {
            if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                return Level::Avx512;
            }
            return Level::Avx2;
        }
    }
    Level::Base
}

/// Defines a function three times, for each [`Level`] with `body` inlined into it, and itself as the choice between them.
macro_rules! leveled {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            match $crate::vector::level() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `level` has detected every feature that the function is compiled with.
                $crate::vector::Level::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::vector::Level::Avx2 => unsafe { avx2($($arg),*) },
                $crate::vector::Level::Base => $body($($arg),*),
            }
        }
    };
}
pub(crate) use leveled;
