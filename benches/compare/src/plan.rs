//! Who is compared, and in which order.
//!
//! In each round every rival is measured beside a leg of Holdfast, two rivals to a leg: `R1 H R2 | R3 H R4 | ...`. The next round goes
//! backwards. So each pair is measured A B, B A, A B, ...: what drifts over the minutes favours neither.

/// What does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Redis, a device sync before the answers of each of its turns.
    RedisAlways,
    /// Redis, a device sync a second: what was answered in the last second can be lost.
    RedisEverysec,
    /// PostgreSQL, one function call and transaction for each hold.
    Postgres,
    /// PostgreSQL, one function call and transaction for a batch of holds.
    PostgresBatched,
    /// The bare axum JSON echo.
    Echo,
    /// The domain in memory.
    Domain,
    /// A write and a device sync.
    Syncs,
}

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By its own best client.
    Native,
    /// Over HTTP, behind the axum front.
    Front,
    /// It is a floor: as it is.
    Bare,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rival {
    /// What does the work.
    pub(crate) who: Who,
    /// How it is asked.
    pub(crate) way: Way,
}

const fn rival(who: Who, way: Way) -> Rival {
    Rival { who, way }
}

/// All of them.
pub(crate) const RIVALS: [Rival; 11] = [
    rival(Who::RedisAlways, Way::Native),
    rival(Who::RedisAlways, Way::Front),
    rival(Who::RedisEverysec, Way::Native),
    rival(Who::RedisEverysec, Way::Front),
    rival(Who::Postgres, Way::Native),
    rival(Who::Postgres, Way::Front),
    rival(Who::PostgresBatched, Way::Native),
    rival(Who::PostgresBatched, Way::Front),
    rival(Who::Echo, Way::Bare),
    rival(Who::Domain, Way::Bare),
    rival(Who::Syncs, Way::Bare),
];

impl Who {
    /// The store.
    pub(crate) fn store(self) -> &'static str {
        match self {
            Self::RedisAlways | Self::RedisEverysec => "Redis",
            Self::Postgres | Self::PostgresBatched => "PostgreSQL",
            Self::Echo => "axum JSON echo",
            Self::Domain => "domain in memory",
            Self::Syncs => "write + fdatasync",
        }
    }

    /// The mode.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            Self::RedisAlways => "AOF always",
            Self::RedisEverysec => "AOF everysec",
            Self::Postgres => "a call for each",
            Self::PostgresBatched => "a call for a batch",
            Self::Echo | Self::Domain | Self::Syncs => "floor",
        }
    }

    /// What `--only` calls it.
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::RedisAlways | Self::RedisEverysec => "redis",
            Self::Postgres | Self::PostgresBatched => "postgres",
            Self::Echo | Self::Domain | Self::Syncs => "floors",
        }
    }
}

impl Way {
    /// In the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Front => "behind axum",
            Self::Bare => "",
        }
    }
}

/// One leg of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Holdfast, for the pair of rivals with this number.
    Holdfast(usize),
    /// The rival with this index.
    Rival(usize),
}

/// Which leg of Holdfast a rival is measured beside.
pub(crate) fn beside(rival: usize) -> usize {
    rival / 2
}

/// The legs of a round, in order.
pub(crate) fn steps(rivals: usize, round: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for first in (0..rivals).step_by(2) {
        steps.push(Step::Rival(first));
        steps.push(Step::Holdfast(beside(first)));
        if first + 1 < rivals {
            steps.push(Step::Rival(first + 1));
        }
    }
    if round % 2 == 1 {
        steps.reverse();
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the rival comes right before (-1) or right after (1) its leg of Holdfast.
    fn side(steps: &[Step], rival: usize) -> isize {
        let at = |wanted| steps.iter().position(|step| *step == wanted).unwrap();
        let (holdfast, rival) = (at(Step::Holdfast(beside(rival))), at(Step::Rival(rival)));
        isize::try_from(rival).unwrap() - isize::try_from(holdfast).unwrap()
    }

    #[test]
    fn every_rival_stands_beside_holdfast_and_changes_sides_each_round() {
        for rivals in 1..=RIVALS.len() {
            for rival in 0..rivals {
                let first = side(&steps(rivals, 0), rival);
                assert_eq!(first.abs(), 1, "{rival} of {rivals}");
                assert_eq!(side(&steps(rivals, 1), rival), -first);
                assert_eq!(side(&steps(rivals, 2), rival), first);
            }
        }
    }

    #[test]
    fn a_round_measures_everybody_once() {
        let steps = steps(3, 0);
        let expected = [
            Step::Rival(0),
            Step::Holdfast(0),
            Step::Rival(1),
            Step::Rival(2),
            Step::Holdfast(1),
        ];
        assert_eq!(steps, expected);
    }
}
