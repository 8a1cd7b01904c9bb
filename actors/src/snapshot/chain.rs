//! Which files lead to which state.
//!
//! A layer is named by its position, and by that of the state which it changes if it does not hold everything: so what
//! can be built from what is there can be told from the names alone.

use crate::ids::Seq;

/// What the name of a layer's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerName {
    /// Position of the state that it completes.
    pub last: Seq,
    /// Position of the state that it changes; zero if it holds everything.
    pub parent: Seq,
}

impl LayerName {
    /// One that holds everything up to a position.
    #[must_use]
    #[cfg(feature = "testing")]
    pub fn full(last: Seq) -> LayerName {
        LayerName { last, parent: Seq::ZERO }
    }

    /// Whether it holds everything.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.parent == Seq::ZERO
    }

    /// The file's name: `00000000000000000017.snap`, or `00000000000000000017-00000000000000000009.snap` for what
    /// changed behind position 9.
    #[must_use]
    pub fn file_name(self) -> String {
        match self.is_full() {
            true => format!("{:020}.snap", self.last.0),
            false => format!("{:020}-{:020}.snap", self.last.0, self.parent.0),
        }
    }

    /// The reverse of [`LayerName::file_name`]; none for any other name.
    #[must_use]
    pub fn parse(name: &str) -> Option<LayerName> {
        let stem = name.strip_suffix(".snap")?;
        let (last, parent) = match stem.split_once('-') {
            Some((last, parent)) => (position(last)?, position(parent).filter(|parent| *parent > Seq::ZERO)?),
            None => (position(stem)?, Seq::ZERO),
        };
        Some(LayerName { last, parent })
    }
}

fn position(digits: &str) -> Option<Seq> {
    // A number is read with a sign in front as well; that would be a second name for the same position.
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().map(Seq)
}

/// The layers of the state at `last`, the oldest first, if `names` have them: with as few files as possible.
#[must_use]
pub fn chain_to(names: &[LayerName], last: Seq) -> Option<Vec<LayerName>> {
    let mut chain = Vec::new();
    find(names, last, &mut chain).then(|| {
        chain.reverse();
        chain
    })
}

fn find(names: &[LayerName], last: Seq, chain: &mut Vec<LayerName>) -> bool {
    let mut here: Vec<_> = names.iter().filter(|name| name.last == last).collect();
    // What holds everything comes first, and then what reaches back the furthest: parents only get smaller, so this
    // ends.
    here.sort_by_key(|name| name.parent);
    for name in here {
        chain.push(*name);
        if name.is_full() || (name.parent < last && find(names, name.parent, chain)) {
            return true;
        }
        chain.pop();
    }
    false
}

/// The positions that there are layers of, newest first.
#[must_use]
pub fn positions(names: &[LayerName]) -> Vec<Seq> {
    let mut positions: Vec<_> = names.iter().map(|name| name.last).collect();
    positions.sort_unstable_by(|one, other| other.cmp(one));
    positions.dedup();
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(last: u64, parent: u64) -> LayerName {
        LayerName { last: Seq(last), parent: Seq(parent) }
    }

    #[test]
    fn a_name_says_which_state_it_completes_and_which_one_it_changes() {
        for name in [name(17, 0), name(17, 9)] {
            assert_eq!(LayerName::parse(&name.file_name()), Some(name));
        }
        let zeros = "0".repeat(20);
        for strange in ["17.snap", "+0000000000000000017.snap", &format!("{zeros}-{zeros}.snap"), "x"] {
            assert_eq!(LayerName::parse(strange), None, "{strange}");
        }
    }

    #[test]
    fn a_chain_takes_the_shortest_way_that_is_there() {
        let names = [name(10, 0), name(20, 10), name(30, 20), name(30, 10), name(40, 30), name(60, 50)];
        assert_eq!(chain_to(&names, Seq(40)), Some(vec![name(10, 0), name(30, 10), name(40, 30)]));
        assert_eq!(chain_to(&names, Seq(60)), None, "its parent is not there");
        let more = [&names[..], &[name(30, 0)]].concat();
        assert_eq!(chain_to(&more, Seq(40)), Some(vec![name(30, 0), name(40, 30)]));
        let without_merged = [name(10, 0), name(20, 10), name(30, 20), name(30, 15)];
        assert_eq!(
            chain_to(&without_merged, Seq(30)),
            Some(vec![name(10, 0), name(20, 10), name(30, 20)]),
            "the longer one leads nowhere"
        );
        assert_eq!(positions(&names), [60, 40, 30, 20, 10].map(Seq));
    }
}
