//! The caching allocator's bookkeeping, without a driver.
//!
//! `cuMemAlloc` and `cuMemFree` cost tens of microseconds and may wait for the whole device, so freed blocks
//! are kept and handed out again. A context has one stream, and everything that touches a block is in that
//! stream's order: a block that was freed on the host while a kernel still reads it may be handed out at
//! once, because whatever the new owner enqueues comes after that kernel.
//!
//! Sizes are rounded up to a size class: multiples of 512 bytes, and above 4 KiB eight steps to each
//! doubling, so at most an eighth of a block is lost. A request takes a cached block of its own class, or the
//! smallest cached one that is at most a quarter larger. When the device is full, all cached blocks are given
//! back and the request is tried once more.
//!
//! A block is in one of three states: live (its owner may use it), held (freed while a graph was captured
//! that names it; the graph keeps it), cached. Addresses are checked against the live blocks before the
//! driver sees them ([`CachingAllocator::check_range`]).

use std::collections::{BTreeMap, HashMap};

/// Where blocks come from: the driver, or a test.
pub trait DeviceMemory {
    /// What goes wrong.
    type Error;
    /// Allocates `bytes`, or returns `None` when the device is full.
    fn allocate(&mut self, bytes: usize) -> Result<Option<u64>, Self::Error>;
    /// Gives a block back.
    fn release(&mut self, address: u64) -> Result<(), Self::Error>;
    /// Prepares for giving blocks back: waits until nothing uses them. `false` where that cannot be done now,
    /// and cached blocks must stay.
    fn drain(&mut self) -> Result<bool, Self::Error>;
}

/// What the allocator did and holds. Bytes are of whole blocks, but for `requested_bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllocatorStats {
    /// Bytes of live blocks and of blocks held by graphs.
    pub in_use_bytes: usize,
    /// What was asked for of them.
    pub requested_bytes: usize,
    /// The most `in_use_bytes` has been.
    pub peak_in_use_bytes: usize,
    /// Bytes of free blocks kept for reuse.
    pub cached_bytes: usize,
    /// Blocks asked of the driver.
    pub driver_allocations: u64,
    /// Blocks given back to the driver.
    pub driver_frees: u64,
    /// Requests served from the cache.
    pub reuses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    requested: usize,
    class: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct CachingAllocator {
    live: BTreeMap<u64, Block>,
    held: HashMap<u64, Block>,
    cached: BTreeMap<usize, Vec<u64>>,
    stats: AllocatorStats,
}

/// Smallest block and the granularity of small ones. The driver aligns to 256.
const GRANULE: usize = 512;

/// The size of the block that serves `bytes`; `None` when that is more than an address can say.
pub fn size_class(bytes: usize) -> Option<usize> {
    let bytes = bytes.max(1);
    let step = if bytes <= 8 * GRANULE {
        GRANULE
    } else {
        (1 << (usize::BITS - 1 - (bytes - 1).leading_zeros())) / 8
    };
    bytes.checked_next_multiple_of(step)
}

impl CachingAllocator {
    /// A block of at least `bytes`; `Ok(None)` when the device is full even with the cache given back.
    pub fn allocate<M: DeviceMemory>(
        &mut self,
        memory: &mut M,
        bytes: usize,
    ) -> Result<Option<u64>, M::Error> {
        let Some(class) = size_class(bytes) else { return Ok(None) };
        if let Some((address, class)) = self.take_cached(class) {
            self.stats.reuses += 1;
            self.add_live(address, Block { requested: bytes, class });
            return Ok(Some(address));
        }
        let mut address = memory.allocate(class)?;
        if address.is_none() && self.stats.cached_bytes > 0 && self.trim(memory)? {
            address = memory.allocate(class)?;
        }
        if let Some(address) = address {
            self.stats.driver_allocations += 1;
            self.add_live(address, Block { requested: bytes, class });
        }
        Ok(address)
    }

    fn take_cached(&mut self, class: usize) -> Option<(u64, usize)> {
        let limit = class.saturating_add(class / 4);
        let (&found, blocks) = self.cached.range_mut(class..=limit).next()?;
        // The block freed last is the one most likely still in the L2 cache.
        let address = blocks.pop()?;
        if blocks.is_empty() {
            self.cached.remove(&found);
        }
        self.stats.cached_bytes -= found;
        Some((address, found))
    }

    fn add_live(&mut self, address: u64, block: Block) {
        self.live.insert(address, block);
        self.stats.in_use_bytes += block.class;
        self.stats.requested_bytes += block.requested;
        self.stats.peak_in_use_bytes = self.stats.peak_in_use_bytes.max(self.stats.in_use_bytes);
    }

    fn cache(&mut self, address: u64, block: Block) {
        self.stats.in_use_bytes -= block.class;
        self.stats.requested_bytes -= block.requested;
        self.stats.cached_bytes += block.class;
        self.cached.entry(block.class).or_default().push(address);
    }

    /// Takes a live block back into the cache. `false` if there is no live block at this address: freed
    /// twice, or not a block's start.
    #[must_use]
    pub fn free(&mut self, address: u64) -> bool {
        match self.live.remove(&address) {
            Some(block) => {
                self.cache(address, block);
                true
            }
            None => false,
        }
    }

    /// As [`Self::free`], but the block is held back until [`Self::release_held`].
    #[must_use]
    pub fn hold(&mut self, address: u64) -> bool {
        match self.live.remove(&address) {
            Some(block) => {
                self.held.insert(address, block);
                true
            }
            None => false,
        }
    }

    /// Puts a held block into the cache; the graph that named it is gone.
    pub fn release_held(&mut self, address: u64) {
        if let Some(block) = self.held.remove(&address) {
            self.cache(address, block);
        }
    }

    /// Gives every cached block back. `false` if now is not the time ([`DeviceMemory::drain`]).
    pub fn trim<M: DeviceMemory>(&mut self, memory: &mut M) -> Result<bool, M::Error> {
        if !memory.drain()? {
            return Ok(false);
        }
        while let Some((class, blocks)) = self.cached.pop_first() {
            for address in blocks {
                self.stats.cached_bytes -= class;
                self.stats.driver_frees += 1;
                memory.release(address)?;
            }
        }
        Ok(true)
    }

    /// Takes every block out of the books, for a context that is going away: the addresses to give back.
    pub fn take_all(&mut self) -> Vec<u64> {
        let live = std::mem::take(&mut self.live).into_keys();
        let held = std::mem::take(&mut self.held).into_keys();
        let cached = std::mem::take(&mut self.cached).into_values().flatten();
        self.stats = AllocatorStats::default();
        live.chain(held).chain(cached).collect()
    }

    /// Whether `bytes` bytes from `address` on lie inside one live block, as far as it was asked for; else
    /// the reason.
    pub fn check_range(&self, address: u64, bytes: usize) -> Result<(), &'static str> {
        let Some((&start, block)) = self.live.range(..=address).next_back() else {
            return Err("no live allocation there");
        };
        // The block that begins before the address may also end before it.
        match usize::try_from(address - start) {
            Ok(offset) if offset <= block.requested && offset < block.class => {
                if bytes <= block.requested - offset {
                    Ok(())
                } else {
                    Err("it runs past the end of the allocation")
                }
            }
            _ => Err("no live allocation there"),
        }
    }

    /// What the allocator did and holds.
    pub fn stats(&self) -> AllocatorStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// A device of `room` bytes that never reuses an address, so that a wrong reuse shows.
    struct Device {
        room: usize,
        next: u64,
        owned: HashMap<u64, usize>,
        drainable: bool,
        drains: usize,
    }

    impl Device {
        fn new(room: usize) -> Self {
            Self { room, next: 0x7000_0000, owned: HashMap::new(), drainable: true, drains: 0 }
        }
    }

    impl DeviceMemory for Device {
        type Error = String;
        fn allocate(&mut self, bytes: usize) -> Result<Option<u64>, String> {
            if self.owned.values().sum::<usize>() + bytes > self.room {
                return Ok(None);
            }
            let address = self.next;
            self.next += bytes.next_multiple_of(256) as u64;
            self.owned.insert(address, bytes);
            Ok(Some(address))
        }
        fn release(&mut self, address: u64) -> Result<(), String> {
            self.owned.remove(&address).map(|_| ()).ok_or_else(|| format!("{address:#x} is not the device's"))
        }
        fn drain(&mut self) -> Result<bool, String> {
            self.drains += 1;
            Ok(self.drainable)
        }
    }

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        for (bytes, class) in
            [(0, 512), (1, 512), (513, 1024), (4096, 4096), (4097, 4608), (8193, 9216), (65_536, 65_536)]
        {
            assert_eq!(size_class(bytes), Some(class), "{bytes}");
        }
        assert_eq!(size_class(usize::MAX), None);
    }

    #[test]
    fn a_full_device_is_trimmed_once_and_tried_again() {
        let mut device = Device::new(10 << 20);
        let mut allocator = CachingAllocator::default();
        let blocks: Vec<u64> = (0..4)
            .map(|_| allocator.allocate(&mut device, 2 << 20).unwrap().expect("room for 8 MiB"))
            .collect();
        assert!(blocks.iter().all(|&block| allocator.free(block)));
        let large = allocator.allocate(&mut device, 8 << 20).unwrap().expect("the cache is given back");
        assert_eq!((device.drains, device.owned.len(), allocator.stats().driver_frees), (1, 1, 4));
        assert_eq!(allocator.allocate(&mut device, 8 << 20), Ok(None), "nothing is left to give back");
        assert_eq!(device.drains, 1);
        // While a graph is captured nothing may be given back.
        assert!(allocator.free(large));
        device.drainable = false;
        assert_eq!(allocator.allocate(&mut device, 4 << 20), Ok(None));
        assert_eq!(allocator.stats().cached_bytes, 8 << 20);
    }

    #[test]
    fn held_blocks_come_back_only_after_their_graph() {
        let mut device = Device::new(1 << 20);
        let mut allocator = CachingAllocator::default();
        let block = allocator.allocate(&mut device, 1000).unwrap().unwrap();
        assert!(allocator.hold(block));
        assert!(!allocator.free(block), "no longer the owner's");
        assert_eq!(allocator.check_range(block, 1), Err("no live allocation there"));
        assert_ne!(allocator.allocate(&mut device, 1000).unwrap(), Some(block));
        allocator.release_held(block);
        assert_eq!(allocator.allocate(&mut device, 1000).unwrap(), Some(block));
    }

    proptest! {
        /// Any order of allocations and frees: blocks never overlap, are large enough, counts add up, and
        /// nothing leaks.
        #[test]
        fn any_order_of_requests_keeps_the_books(requests in prop::collection::vec((0usize..200_000, any::<u16>()), 1..120)) {
            let mut device = Device::new(4 << 20);
            let mut allocator = CachingAllocator::default();
            let mut live: Vec<(u64, usize)> = Vec::new();
            for (bytes, choice) in requests {
                if choice % 3 == 0 && !live.is_empty() {
                    let (address, _) = live.swap_remove(choice as usize % live.len());
                    prop_assert!(allocator.free(address));
                    prop_assert!(!allocator.free(address), "freed twice");
                } else if let Some(address) = allocator.allocate(&mut device, bytes).unwrap() {
                    prop_assert!(device.owned[&address] >= bytes.max(1));
                    prop_assert!(allocator.check_range(address, bytes).is_ok());
                    prop_assert!(allocator.check_range(address, bytes + 1).is_err());
                    prop_assert!(allocator.check_range(address + (bytes as u64) / 2, bytes - bytes / 2).is_ok());
                    live.push((address, bytes));
                }
                let addresses: HashSet<u64> = live.iter().map(|block| block.0).collect();
                prop_assert_eq!(addresses.len(), live.len(), "two owners of one block");
                let stats = allocator.stats();
                prop_assert_eq!(stats.in_use_bytes + stats.cached_bytes, device.owned.values().sum::<usize>());
                prop_assert_eq!(stats.driver_allocations - stats.driver_frees, device.owned.len() as u64);
                prop_assert!(stats.peak_in_use_bytes >= stats.in_use_bytes);
            }
            let mut all = allocator.take_all();
            all.sort_unstable();
            let mut owned: Vec<u64> = device.owned.keys().copied().collect();
            owned.sort_unstable();
            prop_assert_eq!(all, owned);
        }
    }
}
