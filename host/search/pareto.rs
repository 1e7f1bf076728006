//! Several goals at once: dominance, fronts, crowding distance, hypervolume.
//!
//! Everything here takes losses (less is better, see [`Setting::losses`](super::Setting::losses)), the same number for every
//! point, and no NaN. NSGA-II and TPE rank trials with it; reports draw the front.
//!
//! - `a` dominates `b` when it is nowhere worse and somewhere better. Equal points do not dominate each other.
//! - Front 0 holds the points that none dominates, front `r` those that only points of earlier fronts dominate (Deb et al.
//!   2002, A fast and elitist multiobjective genetic algorithm).
//! - The hypervolume is the measure of what the points dominate within a reference point (Zitzler and Thiele 1998).

use std::cmp::Ordering;

/// Whether `a` is nowhere worse than `b` and somewhere better.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}

/// Order by the first loss, then the second, and so on: nothing is dominated by what comes after it.
fn lexicographic(a: &[f64], b: &[f64]) -> Ordering {
    let orders = a.iter().zip(b).map(|(a, b)| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    orders.fold(Ordering::Equal, Ordering::then)
}

fn sorted(points: &[Vec<f64>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| lexicographic(&points[a], &points[b]));
    order
}

/// The front that each point belongs to, from 0. Takes the points in lexicographic order and puts each into the first front
/// without a point that dominates it (Zhang et al. 2015, efficient non-dominated sort).
pub fn ranks(points: &[Vec<f64>]) -> Vec<usize> {
    let mut fronts: Vec<Vec<usize>> = vec![];
    let mut rank = vec![0; points.len()];
    for i in sorted(points) {
        // The newest member is the likeliest to dominate.
        let free = |front: &Vec<usize>| !front.iter().rev().any(|&j| dominates(&points[j], &points[i]));
        rank[i] = fronts.iter().position(free).unwrap_or(fronts.len());
        if rank[i] == fronts.len() {
            fronts.push(vec![]);
        }
        fronts[rank[i]].push(i);
    }
    rank
}

/// The points that none dominates, by index, in lexicographic order of their losses: with two goals, along the front.
pub fn front(points: &[Vec<f64>]) -> Vec<usize> {
    let mut front: Vec<usize> = vec![];
    for i in sorted(points) {
        if !front.iter().rev().any(|&j| dominates(&points[j], &points[i])) {
            front.push(i);
        }
    }
    front
}

/// Crowding distance of each point among `points` (one front): the sum over the goals of the distance of its two neighbours,
/// over the range of the goal; infinite for the ends. Goals in which all are equal, or some infinite, count nothing inside.
pub fn crowding(points: &[Vec<f64>]) -> Vec<f64> {
    let mut distance = vec![0.0; points.len()];
    for goal in 0..points.first().map_or(0, Vec::len) {
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|&a, &b| points[a][goal].total_cmp(&points[b][goal]));
        let at = |k: usize| points[order[k]][goal];
        let last = order.len() - 1;
        let range = at(last) - at(0);
        for k in 0..=last {
            if at(k) == at(0) || at(k) == at(last) {
                // Of points that share an end one stands for it; the others may go.
                if k == 0 || k == last {
                    distance[order[k]] = f64::INFINITY;
                }
            } else if range > 0.0 && range.is_finite() {
                distance[order[k]] += (at(k + 1) - at(k - 1)) / range;
            }
        }
    }
    distance
}

/// All points, the best first: by front, within a front by crowding distance (the lonelier the better), then by index.
pub fn order(points: &[Vec<f64>]) -> Vec<usize> {
    let rank = ranks(points);
    let mut distance = vec![0.0; points.len()];
    for r in 0..=rank.iter().copied().max().unwrap_or(0) {
        let members: Vec<usize> = (0..points.len()).filter(|&i| rank[i] == r).collect();
        let losses: Vec<Vec<f64>> = members.iter().map(|&i| points[i].clone()).collect();
        members.iter().zip(crowding(&losses)).for_each(|(&i, d)| distance[i] = d);
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| rank[a].cmp(&rank[b]).then(distance[b].total_cmp(&distance[a])).then(a.cmp(&b)));
    order
}

/// The measure of what `points` dominate within `reference`, exactly. Points that are not better than the reference in every
/// goal add nothing. Two goals take O(n log n); each further goal multiplies by the number of points on the front (slicing by
/// the last goal, While et al. 2006), so keep fronts small there.
pub fn hypervolume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let inside = |p: &&Vec<f64>| p.iter().zip(reference).all(|(x, r)| x < r);
    let points: Vec<Vec<f64>> = points.iter().filter(inside).cloned().collect();
    let front: Vec<&[f64]> = front(&points).into_iter().map(|i| points[i].as_slice()).collect();
    volume(&front, reference)
}

/// [`hypervolume`] over the first `reference.len()` goals of points that are all inside.
fn volume(points: &[&[f64]], reference: &[f64]) -> f64 {
    match reference {
        [] => 0.0,
        [edge] => points.iter().map(|p| edge - p[0]).fold(0.0, f64::max),
        [edge0, edge1] => {
            let mut order: Vec<&[f64]> = points.to_vec();
            order.sort_by(|a, b| lexicographic(a, b));
            let (mut area, mut low) = (0.0, *edge1);
            for p in order {
                if p[1] < low {
                    area += (edge0 - p[0]) * (low - p[1]);
                    low = p[1];
                }
            }
            area
        }
        [rest @ .., edge] => {
            let last = rest.len();
            let mut order: Vec<&[f64]> = points.to_vec();
            order.sort_by(|a, b| a[last].total_cmp(&b[last]));
            let mut total = 0.0;
            for k in 0..order.len() {
                let next = order.get(k + 1).map_or(*edge, |p| p[last]);
                if next > order[k][last] {
                    total += volume(&order[..=k], rest) * (next - order[k][last]);
                }
            }
            total
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Points with few different losses, so that ties and equal points occur.
    fn points(goals: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<f64>>> {
        goals.prop_flat_map(|m| {
            proptest::collection::vec(proptest::collection::vec((0u8..7).prop_map(f64::from), m), 1..24)
        })
    }

    proptest! {
        #[test]
        fn ranks_and_front_are_those_of_the_definition(points in points(1..5)) {
            // Peels fronts off, one after the other.
            let mut expected = vec![usize::MAX; points.len()];
            for rank in 0..points.len() {
                let left: Vec<usize> = (0..points.len()).filter(|&i| expected[i] == usize::MAX).collect();
                for &i in &left {
                    if !left.iter().any(|&j| dominates(&points[j], &points[i])) {
                        expected[i] = rank;
                    }
                }
            }
            prop_assert_eq!(&ranks(&points), &expected);
            let mut first = front(&points);
            prop_assert!(first.windows(2).all(|w| lexicographic(&points[w[0]], &points[w[1]]).is_le()));
            first.sort();
            let zero: Vec<usize> = (0..points.len()).filter(|&i| expected[i] == 0).collect();
            prop_assert_eq!(first, zero);
            let order = order(&points);
            prop_assert!(order.windows(2).all(|w| expected[w[0]] <= expected[w[1]]));
        }

        #[test]
        fn hypervolume_counts_unit_cells(points in points(1..5), edge in 1u8..8) {
            let goals = points[0].len();
            let reference = vec![f64::from(edge); goals];
            // Losses are whole numbers, so the dominated region is a union of unit cells.
            let cells = (0..u32::from(edge).pow(goals as u32)).filter(|code| {
                let corner: Vec<f64> =
                    (0..goals as u32).map(|g| f64::from(code / u32::from(edge).pow(g) % u32::from(edge))).collect();
                points.iter().any(|p| p.iter().zip(&corner).all(|(x, c)| x <= c))
            });
            prop_assert_eq!(hypervolume(&points, &reference), cells.count() as f64);
        }

        #[test]
        fn crowding_is_the_side_of_the_cuboid(xs in proptest::collection::btree_set(0i32..1000, 3..20)) {
            // A front without ties: the definition, point by point.
            let points: Vec<Vec<f64>> = xs.iter().map(|&x| vec![f64::from(x), f64::from(-x * x)]).collect();
            let distance = crowding(&points);
            let last = points.len() - 1;
            prop_assert!(distance[0].is_infinite() && distance[last].is_infinite());
            for i in 1..last {
                let side = |g: usize| (points[i + 1][g] - points[i - 1][g]).abs() / (points[last][g] - points[0][g]).abs();
                prop_assert!((distance[i] - side(0) - side(1)).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn degenerate_fronts_are_fine() {
        assert!(ranks(&[]).is_empty() && front(&[]).is_empty() && order(&[]).is_empty());
        assert_eq!(hypervolume(&[], &[1.0, 1.0]), 0.0);
        let points = vec![vec![f64::INFINITY, 1.0], vec![0.0, 1.0], vec![0.0, 1.0]];
        assert_eq!(ranks(&points), [1, 0, 0]);
        assert_eq!(hypervolume(&points, &[2.0, 2.0]), 2.0);
        assert!(crowding(&points).iter().all(|d| !d.is_nan()));
    }
}
