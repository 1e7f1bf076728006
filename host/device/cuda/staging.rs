//! The staging ring: where small host data waits, pinned, for the device to fetch it.
//!
//! A copy from ordinary host memory makes the caller wait, or leaves the device reading memory that the
//! caller has long changed. So uploads are first copied into a ring of pinned memory and fetched from there;
//! the caller's slice is free at once.
//!
//! The ring is cut into segments. Uploads fill a segment front to back; when one is full a fence (an event on
//! the stream) is recorded behind its last copy, and the next segment is entered once its own fence, recorded
//! a whole round earlier, has passed. So the cost of a fence is paid once a segment and not once an upload,
//! and no byte is overwritten before the device has fetched it.

use std::ops::Range;

/// Events behind the copies out of each segment: the driver's, or a test's.
pub trait Fences {
    /// What goes wrong.
    type Error;
    /// Marks the point behind everything enqueued so far.
    fn record(&mut self, segment: usize) -> Result<(), Self::Error>;
    /// Waits until the device has passed the mark.
    fn wait(&mut self, segment: usize) -> Result<(), Self::Error>;
}

/// Which bytes of the ring are free; see the module.
#[derive(Debug)]
pub struct StagingRing {
    segment_bytes: usize,
    current: usize,
    used: usize,
    fenced: Vec<bool>,
}

/// Uploads start on multiples of this, which suits every vector copy on either side.
const ALIGNMENT: usize = 64;

impl StagingRing {
    /// A ring over `segments * segment_bytes` bytes; two segments or more, each a multiple of 64 bytes.
    pub fn new(segments: usize, segment_bytes: usize) -> Self {
        debug_assert!(segments >= 2 && segment_bytes > 0 && segment_bytes.is_multiple_of(ALIGNMENT));
        Self { segment_bytes, current: 0, used: 0, fenced: vec![false; segments] }
    }

    /// Bytes of the whole ring.
    pub fn bytes(&self) -> usize {
        self.segment_bytes * self.fenced.len()
    }

    /// A free range for the first bytes of an upload of `bytes` (at least 1): all of them, or a whole segment
    /// if they are more than that. The caller fills it and enqueues the copy before it reserves again; it
    /// waits here only when the device is a whole round behind.
    pub fn reserve<F: Fences>(&mut self, bytes: usize, fences: &mut F) -> Result<Range<usize>, F::Error> {
        let piece = bytes.min(self.segment_bytes);
        if self.used + piece > self.segment_bytes {
            fences.record(self.current)?;
            self.fenced[self.current] = true;
            let next = (self.current + 1) % self.fenced.len();
            if self.fenced[next] {
                fences.wait(next)?;
                self.fenced[next] = false;
            }
            self.current = next;
            self.used = 0;
        }
        let start = self.current * self.segment_bytes + self.used;
        self.used += piece.next_multiple_of(ALIGNMENT);
        Ok(start..start + piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;

    /// A stream that runs as late as it may: only when somebody waits.
    #[derive(Default)]
    struct LazyStream {
        queue: VecDeque<Work>,
        memory: Vec<u8>,
        fetched: Vec<u8>,
        waits: usize,
    }

    enum Work {
        Fetch(Range<usize>),
        Mark(usize),
    }

    impl LazyStream {
        fn step(&mut self) -> Option<Work> {
            let work = self.queue.pop_front()?;
            if let Work::Fetch(range) = &work {
                self.fetched.extend_from_slice(&self.memory[range.clone()]);
            }
            Some(work)
        }
    }

    impl Fences for LazyStream {
        type Error = Infallible;
        fn record(&mut self, segment: usize) -> Result<(), Infallible> {
            self.queue.push_back(Work::Mark(segment));
            Ok(())
        }
        fn wait(&mut self, segment: usize) -> Result<(), Infallible> {
            self.waits += 1;
            while let Some(work) = self.step() {
                if matches!(work, Work::Mark(marked) if marked == segment) {
                    return Ok(());
                }
            }
            panic!("waited for a mark that was never recorded");
        }
    }

    proptest! {
        /// However late the device is, it fetches exactly what was uploaded, in order.
        #[test]
        fn nothing_is_overwritten_before_it_is_fetched(
            uploads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..700), 1..60), segments in 2usize..5,
        ) {
            let mut ring = StagingRing::new(segments, 256);
            let mut stream = LazyStream { memory: vec![0; ring.bytes()], ..LazyStream::default() };
            for upload in &uploads {
                let mut rest = &upload[..];
                while !rest.is_empty() {
                    let range = ring.reserve(rest.len(), &mut stream).unwrap();
                    prop_assert!(range.end <= ring.bytes() && range.start.is_multiple_of(64));
                    let (piece, tail) = rest.split_at(range.len());
                    stream.memory[range.clone()].copy_from_slice(piece);
                    stream.queue.push_back(Work::Fetch(range));
                    rest = tail;
                }
            }
            while stream.step().is_some() {}
            prop_assert_eq!(stream.fetched, uploads.concat());
        }
    }

    #[test]
    fn waits_only_when_the_device_is_a_round_behind() {
        let mut ring = StagingRing::new(4, 1024);
        let mut stream = LazyStream { memory: vec![0; ring.bytes()], ..LazyStream::default() };
        for _ in 0..16 {
            let range = ring.reserve(256, &mut stream).unwrap();
            stream.queue.push_back(Work::Fetch(range));
        }
        assert_eq!((stream.waits, stream.queue.len()), (0, 16 + 3), "a fence for each segment left");
        ring.reserve(256, &mut stream).unwrap();
        assert_eq!(stream.waits, 1);
    }
}
