//! Random sequences: few paths, few values, all operations, so that they meet each other.

use super::burst;
use super::differences;
use super::random::Random;
use super::side::SLOTS;
use super::step::{Damage, Op, Request, Step, Who};
use super::timed;
use super::values::{open_acl, single};

/// What is special about a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    /// Everything a little.
    Mixed,
    /// Quotas. No pipelined writes: a check reads committed counts, so chance would decide.
    Quota,
    /// ACLs and identities.
    Acl,
    /// Watches and reconnects.
    Watch,
    /// Multis.
    Multi,
    /// Expiry and reaping. Every other session lives long, and nothing else makes a container or a
    /// TTL node, so that the reaper finds only what a step gives it.
    Time,
}

/// Makes sequence number `index` of `seed`.
pub fn sequence(seed: u64, index: u64, with_restart: bool) -> Vec<Step> {
    let mut random = Random::new(seed, index);
    let theme = *random.weighted(&[
        (5, Theme::Mixed),
        (2, Theme::Quota),
        (2, Theme::Acl),
        (2, Theme::Watch),
        (2, Theme::Multi),
    ]);
    let slots = 2 + random.below(SLOTS - 1);
    let mut maker = Maker {
        random,
        theme,
        slots,
    };
    let mut steps = Vec::new();
    for slot in 0..slots {
        steps.push(maker.connect_new(slot));
    }
    if theme == Theme::Acl {
        for slot in 0..slots {
            if maker.random.chance(70) {
                steps.push(single(slot, maker.identity()));
            }
        }
    }
    if maker.random.chance(92) {
        steps.push(maker.foundation());
    }
    if theme == Theme::Quota {
        steps.extend(maker.quota_nodes());
    }
    let length = 18 + maker.random.below(14);
    for at in 0..length {
        if with_restart && at == length / 2 {
            steps.push(Step::Restart {
                crash: maker.random.chance(50),
            });
            for slot in 0..slots {
                steps.push(maker.connect(slot, Who::Slot(slot)));
            }
        }
        steps.push(maker.step());
    }
    steps
}

/// Makes the parts of one sequence; the values are in [`super::values`].
pub(super) struct Maker {
    pub(super) random: Random,
    pub(super) theme: Theme,
    pub(super) slots: usize,
}

/// The replies to a flood: some 16 MB, more than both buffers of a loopback socket grow to.
const FLOOD_READS: usize = 250;
const FLOOD_VALUE_BYTES: usize = 96 << 10;

const WORDS: [(usize, &str); 18] = [
    (3, "srvr"),
    (3, "mntr"),
    (3, "wchs"),
    (3, "wchc"),
    (3, "wchp"),
    (3, "dump"),
    (1, "ruok"),
    (1, "isro"),
    (1, "crst"),
    (1, "srst"),
    (1, "gtmk"),
    (1, "stmk\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{1}\u{2}"),
    (1, "kill"),
    (1, "RUOK"),
    (1, "stat"),
    (1, "conf"),
    (1, "envi"),
    (1, "dirs"),
];

impl Maker {
    pub(super) fn step(&mut self) -> Step {
        let slot = self.random.below(self.slots);
        let reconnects = if self.theme == Theme::Watch { 10 } else { 3 };
        match self.random.below(100) {
            n if n < reconnects => self.reconnect(slot),
            // A word would tell how many zxids a reaper has used up.
            n if n < reconnects + 2 && self.theme != Theme::Time => self.word(),
            n if n < reconnects + 3 => self.garbage(slot),
            n if n < reconnects + 4 && !matches!(self.theme, Theme::Time | Theme::Quota) => {
                self.flood(slot)
            }
            _ => self.burst(slot),
        }
    }

    fn word(&mut self) -> Step {
        Step::Word((*self.random.weighted(&WORDS)).into())
    }

    /// Reads in one write whose replies are more than the socket takes: the server cannot send them
    /// all before this side has taken some, and must go on serving what it has read.
    fn flood(&mut self, slot: usize) -> Step {
        let path = "~/flood";
        let create = Op::Create {
            code: 1,
            path: path.into(),
            data: Some("flood ".repeat(FLOOD_VALUE_BYTES / 6)),
            acl: open_acl(),
            flags: 0,
            ttl: 0,
        };
        let mut ops = vec![create];
        for _ in 0..FLOOD_READS {
            let read = |code, path: &str| Op::Read {
                code,
                path: path.into(),
                watch: false,
            };
            ops.push(match self.random.below(12) {
                0 => read(3, path),
                1 => read(12, "~"),
                2 => Op::Path {
                    code: 9,
                    path: path.into(),
                },
                3 => Op::SetData {
                    path: "~/a".into(),
                    data: self.data(),
                    version: -1,
                },
                _ => read(4, path),
            });
        }
        ops.push(Op::Versioned {
            code: 2,
            path: path.into(),
            version: -1,
        });
        let requests = ops.into_iter().map(|op| Request { xid: None, op });
        Step::Burst {
            slot,
            requests: requests.collect(),
        }
    }

    fn burst(&mut self, slot: usize) -> Step {
        let count = if self.theme == Theme::Quota {
            1
        } else {
            *self.random.weighted(&[(6, 1), (2, 2), (2, 3), (1, 6)])
        };
        let mut requests: Vec<Request> = Vec::new();
        while requests.len() < count {
            let request = self.request();
            if differences::never_sent(&request.op)
                || (self.theme == Theme::Time && timed::may_be_reaped(&request.op))
            {
                continue;
            }
            if request.op.stands_alone() && !requests.is_empty() {
                break;
            }
            let last = burst::ends(&request.op, &requests);
            requests.push(request);
            if last {
                break;
            }
        }
        Step::Burst { slot, requests }
    }

    pub(super) fn connect_new(&mut self, slot: usize) -> Step {
        let who = if self.random.chance(10) {
            Who::NewNullPassword
        } else {
            Who::New
        };
        self.connect(slot, who)
    }

    pub(super) fn connect(&mut self, slot: usize, who: Who) -> Step {
        let timeout_ms = if self.theme == Theme::Time {
            *self.random.pick(&[300_000, i32::MAX])
        } else {
            *self
                .random
                .weighted(&[(5, 300_000), (1, 0), (1, -5), (1, 100), (1, i32::MAX)])
        };
        let read_only = *self
            .random
            .weighted(&[(4, Some(false)), (1, None), (1, Some(true))]);
        let mut then = Vec::new();
        if self.random.chance(20) {
            if let Step::Burst { requests, .. } = self.burst(slot) {
                then = requests;
            }
            // What answers at once (auth) must not meet a handshake that is still on its way.
            then.retain(|request| !request.op.stands_alone());
        }
        Step::Connect {
            slot,
            who,
            timeout_ms,
            read_only,
            then,
        }
    }

    fn reconnect(&mut self, slot: usize) -> Step {
        match self.random.below(12) {
            0..=2 => Step::Drop { slot },
            3..=7 => self.connect(slot, Who::Slot(slot)),
            8 => {
                let other = self.random.below(self.slots);
                self.connect(slot, Who::Slot(other))
            }
            9 => self.connect(slot, Who::WrongPassword(slot)),
            10 => {
                let who = *self.random.pick(&[Who::Unknown, Who::Future]);
                self.connect(slot, who)
            }
            _ => self.connect_new(slot),
        }
    }

    fn garbage(&mut self, slot: usize) -> Step {
        let (length, bytes) = match self.random.below(4) {
            0 => (-1, vec![]),
            1 => (self.random.below(8) as i32, vec![0; 8]),
            2 => (0x000f_ffff + 1, vec![0; 12]),
            _ => (i32::from_be_bytes(*b"ruok"), vec![]),
        };
        Step::Garbage {
            slot,
            length,
            bytes,
        }
    }

    /// Creates of the parents, so that what follows finds something.
    pub(super) fn foundation(&mut self) -> Step {
        let mut requests = Vec::new();
        for path in ["~/a", "~/b", "~/c", "~/a/x", "~/a/y", "~/a/x/1", "~/b/x"] {
            if self.random.chance(80) {
                let acl = if self.random.chance(80) {
                    open_acl()
                } else {
                    self.acl()
                };
                let data = self.data();
                let op = Op::Create {
                    code: 1,
                    path: path.into(),
                    data,
                    acl,
                    flags: 0,
                    ttl: 0,
                };
                requests.push(Request { xid: None, op });
            }
        }
        Step::Burst { slot: 0, requests }
    }

    fn request(&mut self) -> Request {
        let xid = self
            .random
            .chance(4)
            .then(|| *self.random.pick(&[0, -4, -8, -77, i32::MAX, i32::MIN]));
        let mut op = self.op();
        if self.random.chance(3) {
            let damage = match self.random.below(4) {
                0 | 1 => Damage::Cut(self.random.below(64)),
                2 => Damage::Extra(1 + self.random.below(9)),
                _ => Damage::Patch(
                    self.random.below(64),
                    *self
                        .random
                        .pick(&[-1, -2, i32::MIN, i32::MAX, 1_000_000, 0, 3]),
                ),
            };
            op = Op::Broken {
                op: Box::new(op),
                damage,
            };
        }
        Request { xid, op }
    }

    fn op(&mut self) -> Op {
        #[derive(Clone, Copy)]
        enum Kind {
            Create,
            Delete,
            Set,
            Read,
            Acl,
            SetAcl,
            Multi,
            MultiRead,
            Watch,
            SetWatches,
            Path,
            Rare,
            Quota,
        }
        let watchy = if self.theme == Theme::Watch { 3 } else { 1 };
        let weights = [
            (20, Kind::Create),
            (8, Kind::Delete),
            (10, Kind::Set),
            (10 * watchy, Kind::Read),
            (3, Kind::Acl),
            (if self.theme == Theme::Acl { 14 } else { 3 }, Kind::SetAcl),
            (if self.theme == Theme::Multi { 40 } else { 6 }, Kind::Multi),
            (
                if self.theme == Theme::Multi { 10 } else { 2 },
                Kind::MultiRead,
            ),
            (5 * watchy, Kind::Watch),
            (2 * watchy, Kind::SetWatches),
            (4, Kind::Path),
            (6, Kind::Rare),
            (if self.theme == Theme::Quota { 12 } else { 0 }, Kind::Quota),
        ];
        match *self.random.weighted(&weights) {
            Kind::Create => self.create(),
            Kind::Delete => self.versioned(2),
            Kind::Set => self.set_data(),
            Kind::Read => {
                let code = *self.random.pick(&[3, 4, 8, 12]);
                Op::Read {
                    code,
                    path: self.path(),
                    watch: self.random.chance(60),
                }
            }
            Kind::Acl => Op::Path {
                code: 6,
                path: self.path(),
            },
            Kind::SetAcl => Op::SetAcl {
                path: self.path(),
                acl: self.acl(),
                version: self.version(),
            },
            Kind::Multi => self.multi(14),
            Kind::MultiRead => self.multi(22),
            Kind::Watch => self.watch(),
            Kind::SetWatches => self.set_watches(),
            Kind::Path => {
                let code = *self.random.pick(&[9, 103, 104]);
                Op::Path {
                    code,
                    path: self.path(),
                }
            }
            Kind::Rare => self.rare(),
            Kind::Quota => self.quota_op(),
        }
    }

    fn create(&mut self) -> Op {
        let code = *self.random.weighted(&[(6, 1), (3, 15), (1, 19), (2, 21)]);
        let flags = match code {
            19 => *self
                .random
                .weighted(&[(9, 4), (1, 0), (2, 1), (1, 2), (1, 3)]),
            21 => *self.random.weighted(&[(5, 5), (4, 6), (1, 0)]),
            _ => *self.random.weighted(&[
                (10, 0),
                (5, 1),
                (3, 2),
                (3, 3),
                (1, 4),
                (1, 5),
                (1, 6),
                (1, 7),
                (1, -1),
            ]),
        };
        let ttl = *self.random.weighted(&[
            (6, 86_400_000),
            (1, 0),
            (1, -1),
            (1, (1 << 40) - 1),
            (1, 1 << 40),
            (1, i64::MIN),
        ]);
        let mut path = self.path();
        if matches!(flags, 2 | 3 | 6) && self.random.chance(80) {
            path = (*self.random.pick(&["~/s-", "~/a/s-", "~/a/", "~/b/q"])).into();
        }
        let acl = if self.random.chance(75) {
            open_acl()
        } else {
            self.acl()
        };
        Op::Create {
            code,
            path,
            data: self.data(),
            acl,
            flags,
            ttl,
        }
    }

    fn set_data(&mut self) -> Op {
        Op::SetData {
            path: self.path(),
            data: self.data(),
            version: self.version(),
        }
    }

    fn versioned(&mut self, code: i32) -> Op {
        Op::Versioned {
            code,
            path: self.path(),
            version: self.version(),
        }
    }

    fn watch(&mut self) -> Op {
        let code = *self.random.weighted(&[(3, 106), (1, 17), (1, 18)]);
        let kind = match code {
            106 => *self.random.weighted(&[(5, 0), (5, 1), (1, 2), (1, -1)]),
            _ => *self
                .random
                .weighted(&[(2, 1), (2, 2), (3, 3), (2, 4), (2, 5), (1, 0), (1, 6)]),
        };
        // On few paths, so that what is removed was there.
        let path = if self.random.chance(60) {
            (*self.random.pick(&["~/a", "~/b"])).into()
        } else if self.random.chance(15) {
            "<null>".into()
        } else {
            self.path()
        };
        Op::Watch { code, path, kind }
    }

    fn set_watches(&mut self) -> Op {
        let count = *self.random.pick(&[3, 5]);
        let mut lists = Vec::new();
        for at in 0..count {
            let mut list = Vec::new();
            for _ in 0..self.random.below(4) {
                list.push(self.path());
            }
            // In the lists of persistent watches it is one as any other.
            if at >= 3 && self.random.chance(10) {
                list.push("<null>".into());
            }
            lists.push(list);
        }
        let since =
            *self
                .random
                .weighted(&[(6, None), (1, Some(0)), (1, Some(i64::MAX)), (1, Some(-1))]);
        Op::SetWatches { since, lists }
    }

    fn multi(&mut self, code: i32) -> Op {
        let mut items = Vec::new();
        for _ in 0..*self
            .random
            .weighted(&[(1, 0), (3, 1), (4, 2), (4, 3), (2, 5)])
        {
            // Sometimes what does not belong there.
            let wrong = self.random.chance(2);
            let item = if (code == 22) != wrong {
                let code = *self.random.weighted(&[(5, 4), (5, 8), (1, 3)]);
                Op::Read {
                    code,
                    path: self.path(),
                    watch: self.random.chance(50),
                }
            } else {
                match self.random.below(10) {
                    0..=3 => self.create(),
                    4 | 5 => self.set_data(),
                    6 | 7 => self.versioned(2),
                    _ => self.versioned(13),
                }
            };
            if !differences::never_sent(&item) {
                items.push(item);
            }
        }
        Op::Multi {
            code,
            items,
            ended: self.random.chance(97),
        }
    }

    fn rare(&mut self) -> Op {
        match self.random.below(14) {
            0..=3 => self.identity(),
            4 => Op::Bare { code: 107 },
            5 => Op::Bare { code: 11 },
            6 => Op::Bare { code: -11 },
            7 => Op::Bare {
                code: *self
                    .random
                    .pick(&[0, -1, 10, 13, 23, 99, 108, 500, -12, 1000]),
            },
            8 => Op::Sasl {
                token: self.random.chance(50).then(|| "token".into()),
            },
            9 => Op::Reconfig {
                joining: "<null>".into(),
                leaving: "1".into(),
                members: "<null>".into(),
                config: -1,
            },
            10 => self.versioned(13),
            _ => Op::Bare { code: 107 },
        }
    }
}
