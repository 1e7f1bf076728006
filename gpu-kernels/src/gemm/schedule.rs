//! Which cluster multiplies what, in a product whose grid is persistent.
//!
//! The first tiles are *whole*: cluster `g` of `G` computes tiles `g`, `g + G`, ... The last ones may be *cut*: their panels of
//! K stand in one line, tile after tile, and each cluster takes the next [`share`](Schedule::share) of them. That is stream-K
//! with its data-parallel part (M. Osama et al., "Stream-K: Work-Centric Parallel Decomposition for Dense Matrix-Matrix
//! Multiplication on the GPU", PPoPP 2023): full waves of tiles stay as they are, and the clusters divide what would have
//! left most of them idle. Where all tiles are fewer than clusters, all are cut; where the share then divides a tile's
//! panels, that is split-K.
//!
//! What a cluster multiplies of a cut tile is a *part*. Its sums go, as f32, to a slot of the workspace, and
//! [`gemm_reduce_tiles`](super::split::gemm_reduce_tiles()), launched behind the product, adds the parts of a tile in
//! increasing k and finishes it. So no block waits for another, and none needs another to be resident. (The paper's
//! blocks wait for those that have the rest of their tile.)
//!
//! Cluster `g`'s part of cut tile `i` has slot `g + i`. Along the line, each next part is of the next cluster or of the next
//! tile, or both: slots grow, no two parts have the same, and those of one tile are neighbours.
//!
//! A schedule follows from the extents and the number of clusters, and from nothing else. So do the sums' bits: of a whole tile
//! each sum runs over k in increasing order, of a cut one within each part, and then over the parts.

use super::tensor::place;

/// Rows of tiles in a group: see [`place`].
const GROUP: u32 = 16;
/// A cluster's share is at least so many panels, or half a tile: each part costs a slot's traffic.
const LEAST: u32 = 4;

/// The tiles of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Tiles above one another.
    pub rows: u32,
    /// Tiles beside one another.
    pub columns: u32,
}

impl Tiles {
    /// Those of an `m` x `n` matrix.
    #[inline(always)]
    pub const fn new(m: u32, n: u32, tile_rows: u32, tile_columns: u32) -> Tiles {
        Tiles { rows: m.div_ceil(tile_rows), columns: n.div_ceil(tile_columns) }
    }

    /// Row, column (in tiles) and matrix of tile `i` of a batch: groups of 16 rows, column by column in each, so that clusters
    /// that run together share panels in the L2 cache.
    #[inline(always)]
    pub(super) fn at(self, i: u32) -> [u32; 3] {
        let each = (self.rows * self.columns).max(1);
        let (row, column) = place::<GROUP>(i % each, self.rows, self.columns);
        [row, column, i / each]
    }
}

/// What clusters divide among them: see the module's docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Panels of K of a tile.
    pub panels: u32,
    /// Tiles that are whole: the first.
    pub whole: u32,
    /// Tiles that are cut: the others.
    pub cut: u32,
    /// Panels of the cut tiles that a cluster takes.
    pub share: u32,
}

/// A cluster's next work: `panels` panels of a tile, from panel `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The tile.
    pub tile: u32,
    /// The first panel.
    pub first: u32,
    /// How many.
    pub panels: u32,
}

/// The units of a cluster, in order.
#[derive(Clone, Copy, Debug)]
pub struct Units {
    panels: u32,
    whole: u32,
    /// The next whole tile, and how far it is to the one after.
    tile: u32,
    step: u32,
    /// The next cut tile, and where in it the cluster begins.
    cut: u32,
    first: u32,
    /// Panels of cut tiles that the cluster has before it.
    left: u32,
}

impl Schedule {
    /// Every tile whole.
    pub const fn whole(tiles: u32, panels: u32) -> Schedule {
        Schedule { panels, whole: tiles, cut: 0, share: 0 }
    }

    /// Full waves of whole tiles; the rest of the tiles cut, unless that shortens nothing.
    pub const fn stream_k(tiles: u32, panels: u32, clusters: u32) -> Schedule {
        let cut = tiles % clusters;
        let line = cut as u64 * panels as u64;
        let even = line.div_ceil(clusters as u64);
        let half = panels.div_ceil(2);
        let least = if half < LEAST { half } else { LEAST };
        // Positions in the line are 32-bit numbers.
        if line == 0 || line >= 1 << 31 || least >= panels || even >= panels as u64 {
            return Schedule::whole(tiles, panels);
        }
        let share = if even < least as u64 { least } else { even as u32 };
        Schedule { panels, whole: tiles - cut, cut, share }
    }

    /// Clusters that have work, of so many.
    pub const fn clusters(self, most: u32) -> u32 {
        let (whole, sharers) = (if self.whole < most { self.whole } else { most }, self.sharers());
        if whole > sharers {
            whole
        } else {
            sharers
        }
    }

    /// Clusters that share the cut tiles.
    const fn sharers(self) -> u32 {
        if self.cut == 0 {
            0
        } else {
            (self.cut * self.panels).div_ceil(self.share)
        }
    }

    /// Slots of the workspace, some of them without a part.
    pub const fn slots(self) -> u32 {
        if self.cut == 0 {
            0
        } else {
            self.sharers() + self.cut - 1
        }
    }

    /// Panels that the busiest of so many clusters multiplies.
    pub const fn longest(self, clusters: u32) -> u64 {
        self.whole.div_ceil(clusters) as u64 * self.panels as u64 + self.share as u64
    }

    /// The slot of the first part of cut tile `i`, and how many parts it has.
    #[inline(always)]
    pub fn parts(self, i: u32) -> (u32, u32) {
        let share = self.share.max(1);
        let first = i * self.panels / share;
        let last = ((i + 1) * self.panels - 1) / share;
        (first + i, last - first + 1)
    }

    /// The units of `cluster`, one of `clusters`.
    #[inline(always)]
    pub fn units(self, cluster: u32, clusters: u32) -> Units {
        let at = cluster * self.share;
        let left = (self.cut * self.panels).saturating_sub(at).min(self.share);
        let (cut, first) = (self.whole + at / self.panels.max(1), at % self.panels.max(1));
        Units { panels: self.panels, whole: self.whole, tile: cluster, step: clusters, cut, first, left }
    }

    /// The slot of `cluster`'s part of `tile`; `None` for a whole tile.
    #[inline(always)]
    pub fn slot(self, cluster: u32, tile: u32) -> Option<u32> {
        if tile < self.whole {
            None
        } else {
            Some(cluster + (tile - self.whole))
        }
    }
}

impl Units {
    /// The next unit; one of no panels where there is none. (No `Option`: a unit that is not there would be registers that
    /// nothing ever wrote.)
    #[inline(always)]
    pub fn advance(&mut self) -> Unit {
        if self.tile < self.whole {
            let tile = self.tile;
            self.tile += self.step;
            return Unit { tile, first: 0, panels: self.panels };
        }
        let (tile, first) = (self.cut, self.first);
        let panels = self.left.min(self.panels - first);
        (self.cut, self.first) = (tile + 1, 0);
        self.left -= panels;
        Unit { tile, first, panels }
    }
}
