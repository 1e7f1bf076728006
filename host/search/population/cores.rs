//! One network a core.
//!
//! Each core has a thread pool of its own with a single thread, in which large operations find nobody to share with: a
//! network stays on its core, and no core waits for another in the middle of one. Networks are taken in turn, the one
//! with most work first; which core trains which changes no number.

use std::sync::Mutex;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The cores of a population.
pub(super) struct Cores {
    pools: Vec<ThreadPool>,
}

impl Default for Cores {
    fn default() -> Cores {
        Cores::new(rayon::current_num_threads())
    }
}

impl Cores {
    /// `threads` cores, at least 1; fewer where the system gives no more threads.
    pub fn new(threads: usize) -> Cores {
        let pool = || ThreadPoolBuilder::new().num_threads(1).build().ok();
        Cores { pools: (0..threads.max(1)).map_while(|_| pool()).collect() }
    }

    /// Calls `body` with each of `items`, on all cores; returns when all are done.
    pub fn for_each<T: Send>(&self, items: Vec<T>, body: impl Fn(T) + Sync) {
        let queue = Mutex::new(items.into_iter());
        // A panic in `body` ends its core's part and is passed on when all are done; the queue stays whole.
        let next = || queue.lock().unwrap_or_else(|e| e.into_inner()).next();
        let work = || {
            while let Some(item) = next() {
                body(item);
            }
        };
        match self.pools.as_slice() {
            [] => work(),
            [one] => one.install(work),
            many => std::thread::scope(|scope| {
                for pool in many {
                    scope.spawn(|| pool.install(work));
                }
            }),
        }
    }
}
