//! Sequences as text, in the grammar of the golden scripts: a prefix names the connection.
//!
//! ```text
//! c0: open [TIMEOUT]                        a connection and a new session; in the slot c0
//! c0: resume cN [timeout=MS]                the session that slot cN has or had
//!     zxid=future password=null|wrong session=unknown readonly=yes|absent
//! c0: drop | expire [TIMEOUT]               expire by this timeout, or by its own
//! c0: garbage LENGTH HEX                    a frame that is no request
//! c0: reap PATH...                          what is piped behind it, until these are gone
//! word WORD; restart | restart crash
//! c0: create PATH [DATA] [op=create|create2|container|ttl] [flags=N] [ttl=MS] [acl=SCHEME:ID:PERMS;..|null]
//! c0: delete PATH [VERSION] | check PATH VERSION | set PATH DATA [VERSION] | setacl PATH ACL [VERSION]
//! c0: stat | get | ls | ls2 PATH [watch]; getacl | sync | ephemerals | count PATH
//! c0: addwatch | checkwatch | removewatch PATH KIND
//! c0: setwatches | oldsetwatches [since=N] [data=P] [exist=P] [child=P] [persistent=P] [recursive=P] ...
//! c0: multi "OP"... [ended=no]; multiread "OP"... [ended=no]; auth SCHEME AUTH; sasl TOKEN
//! c0: reconfig [joining=] [leaving=] [members=] [config=N]; close | whoami | ping | bare CODE
//! ```
//!
//! A request with the tag `[piped]` goes in the same write as the line before it. Each may have
//! `xid=N`, another opcode than its name says by `op=N`, and damage to its body, in order:
//! `cut=N`, `extra=N`, `patch=AT:VALUE`. DATA, AUTH and TOKEN `null` are null, `text=null` is the word.

mod reading;
mod tables;
mod writing;

pub use reading::read;
pub use writing::write;

#[cfg(test)]
mod tests {
    use super::super::step::{Damage, Op, Request, Step};
    use super::*;

    #[test]
    fn a_sequence_is_the_same_when_read_back() {
        for index in 0..300 {
            let mut all = vec![crate::differential::timed::sequence(1, index)];
            all.extend(
                [false, true].map(|it| crate::differential::generate::sequence(1, index, it)),
            );
            for steps in all {
                let text = write(&steps).unwrap();
                assert_eq!(read(&text).unwrap(), steps, "{text}");
            }
        }
    }

    /// Requests with this text wherever one may be.
    fn odd_ops(text: &str) -> Vec<Op> {
        let path = || text.to_owned();
        let entry = (1, path(), path());
        vec![
            Op::Create {
                code: 99,
                path: path(),
                data: Some(path()),
                acl: Some(vec![entry.clone(), entry]),
                flags: -1,
                ttl: -5,
            },
            Op::SetAcl {
                path: path(),
                acl: Some(Vec::new()),
                version: 3,
            },
            Op::Versioned {
                code: 7,
                path: path(),
                version: i32::MIN,
            },
            Op::SetWatches {
                since: Some(-1),
                lists: vec![vec![path(), path()], Vec::new(), vec![path()]],
            },
            Op::Auth {
                scheme: path(),
                auth: Some(path()),
            },
        ]
    }

    /// Also what no generator makes.
    #[test]
    fn odd_values_are_the_same_when_read_back() {
        let odd = [
            "", "null", "a b", "'\"", "\\\"\n", "x=y", "a:b;%3a", "[piped]", "#", "<null>",
        ];
        for text in odd.map(str::to_owned) {
            let path = || text.clone();
            let ops = odd_ops(&text);
            let multi = Op::Multi {
                code: 22,
                items: vec![
                    Op::Multi {
                        code: 5,
                        items: ops.clone(),
                        ended: false,
                    },
                    Op::Broken {
                        op: Box::new(Op::Broken {
                            op: Box::new(Op::Path {
                                code: 1,
                                path: path(),
                            }),
                            damage: Damage::Patch(3, -4),
                        }),
                        damage: Damage::Cut(1),
                    },
                ],
                ended: true,
            };
            let requests = ops.into_iter().chain([multi]);
            let requests = requests.map(|op| Request { xid: Some(-2), op });
            let steps = [
                Step::Reap {
                    slot: 12,
                    requests: requests.collect(),
                    paths: vec![path(), path()],
                },
                Step::Burst {
                    slot: 3,
                    requests: Vec::new(),
                },
                Step::Word(path()),
            ];
            let text = write(&steps).unwrap();
            assert_eq!(read(&text).unwrap(), steps, "{text}");
        }
    }

    /// So that a kept failure can be put beside the others as it is.
    #[test]
    fn all_scripts_are_as_they_would_be_written() {
        let paths = crate::differential::written().unwrap();
        assert!(paths.len() >= 19);
        for path in paths {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let plain: String = lines.flat_map(|line| [line, "\n"]).collect();
            assert_eq!(write(&read(&text).unwrap()).unwrap(), plain);
        }
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for wrong in [
            "open",
            "x: open",
            "c0: open readonly=perhaps",
            "c0: drop now",
            "c0: create",
            "c0: get \"~/a\" wach",
            "c0: set \"~/a\" x 1 flags=2",
            "c0: fly",
            "c0: get a [piped]",
            "c0: open\nc1: get a [piped]",
            "c0: multi 'get a xid=3'",
            "c0: patch a",
            "c0: get a patch=3",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
