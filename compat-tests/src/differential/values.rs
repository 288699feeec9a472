//! The values that random requests are made of: paths, data, ACLs, identities, quotas.

use super::generate::Maker;
use super::step::{Acl, Op, Request, Step};

const PATHS: [&str; 9] = [
    "~/a",
    "~/b",
    "~/a/x",
    "~/a/y",
    "~/a/x/1",
    "~/b/x",
    "~/c",
    "~",
    "~/a/x/1/2",
];
const ODD_PATHS: [&str; 30] = [
    "",
    "/",
    "foo",
    "foo/bar",
    "~/",
    "~/a/",
    "~//a",
    "~/./a",
    "~/../a",
    "~/a/.",
    "~/a/..",
    "~/...",
    "~/a..b",
    "~/\u{1}",
    "~/nul\u{0}",
    "~/\u{7f}",
    "~/ümlaut",
    "~/\u{2028}",
    "~/\u{e000}",
    "~/\u{f900}",
    "~/\u{fff0}",
    "~/😀",
    "~/<bad>",
    "<null>",
    "/zookeeper",
    "/zookeeper/quota",
    "/zookeeper/config",
    "/zookeeper/own",
    "/nowhere/at/all",
    "~/a b",
];

/// One request on a connection.
pub(super) fn single(slot: usize, op: Op) -> Step {
    Step::Burst {
        slot,
        requests: vec![Request { xid: None, op }],
    }
}

/// Everything for everybody.
pub(super) fn open_acl() -> Option<Vec<Acl>> {
    Some(vec![(31, "world".into(), "anyone".into())])
}

impl Maker {
    pub(super) fn identity(&mut self) -> Op {
        let (scheme, auth) = *self.random.weighted(&[
            (6, ("digest", "u1:p1")),
            (6, ("digest", "u2:p2")),
            (1, ("digest", "super:admin")),
            (1, ("digest", "u3:p3")),
            (1, ("digest", "u4:p4")),
            (1, ("digest", "u5:p5")),
            (1, ("digest", "u6:p6")),
            (1, ("digest", "nocolon")),
            (1, ("digest", "")),
            (1, ("digest", "a:b:c")),
            (1, ("ip", "x")),
            (1, ("world", "anyone")),
            (1, ("auth", "")),
            (1, ("nosuch", "x")),
            (1, ("sasl", "x")),
            (1, ("super", "x")),
        ]);
        // A null credential is the only one that digest refuses.
        let auth = (!self.random.chance(4)).then(|| auth.into());
        Op::Auth {
            scheme: scheme.into(),
            auth,
        }
    }

    pub(super) fn acl(&mut self) -> Option<Vec<Acl>> {
        const ENTRIES: [(usize, &str, &str); 27] = [
            (12, "world", "anyone"),
            (9, "auth", ""),
            (3, "auth", "ignored"),
            (5, "digest", "u1:fpT/y03U+EjItKZOSLGvjnJlyng="),
            (5, "digest", "u2:o9NxcCGDPOlcV7JVhmKHOf5ctVE="),
            (5, "ip", "127.0.0.1"),
            (3, "ip", "127.0.0.0/8"),
            (2, "ip", "10.0.0.0/8"),
            (1, "ip", "0.0.0.0/0"),
            (1, "ip", "::1"),
            (1, "ip", "::/0"),
            (1, "ip", "127.0.0.1/33"),
            (1, "ip", "300.0.0.1"),
            (1, "ip", "127.0.0"),
            (1, "ip", ""),
            (1, "ip", "<null>"),
            (1, "digest", "nocolon"),
            (1, "digest", "u:"),
            (1, "digest", ":x"),
            (1, "digest", "a:b:c"),
            (1, "digest", "a::"),
            (1, "world", "someone"),
            (1, "nosuch", "x"),
            (1, "sasl", "bob"),
            (1, "super", "x"),
            (1, "x509", "CN=a"),
            (1, "<null>", "x"),
        ];
        match self.random.below(40) {
            0 => return None,
            1 => return Some(vec![]),
            2..=9 => return open_acl(),
            _ => {}
        }
        let weighted: Vec<(usize, (&str, &str))> = ENTRIES
            .iter()
            .map(|(weight, scheme, id)| (*weight, (*scheme, *id)))
            .collect();
        let mut acl = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let (scheme, id) = *self.random.weighted(&weighted);
            let perms = *self.random.weighted(&[
                (6, 31),
                (4, 1),
                (2, 3),
                (2, 5),
                (2, 9),
                (2, 17),
                (1, 30),
                (1, 0),
                (1, 999),
                (1, -1),
            ]);
            acl.push((perms, scheme.into(), id.into()));
        }
        if self.random.chance(10) {
            acl.push(acl[0].clone());
        }
        Some(acl)
    }

    pub(super) fn path(&mut self) -> String {
        if self.random.chance(7) {
            return (*self.random.pick(&ODD_PATHS)).into();
        }
        if self.random.chance(5) {
            return format!("~/a/s-{:010}", self.random.below(4));
        }
        (*self.random.weighted(&[
            (6, PATHS[0]),
            (4, PATHS[1]),
            (5, PATHS[2]),
            (3, PATHS[3]),
            (3, PATHS[4]),
            (2, PATHS[5]),
            (2, PATHS[6]),
            (2, PATHS[7]),
            (1, PATHS[8]),
        ]))
        .into()
    }

    pub(super) fn data(&mut self) -> Option<String> {
        let data = *self.random.weighted(&[
            (4, "x"),
            (3, ""),
            (3, "hello"),
            (2, "a longer text that a byte quota may refuse"),
            (2, "<none>"),
        ]);
        (data != "<none>").then(|| data.into())
    }

    pub(super) fn version(&mut self) -> i32 {
        *self.random.weighted(&[
            (10, -1),
            (6, 0),
            (4, 1),
            (3, 2),
            (1, 3),
            (1, -2),
            (1, i32::MAX),
        ])
    }

    /// The nodes that make a quota on `~/a` or `~`, as the client tool makes them.
    pub(super) fn quota_nodes(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        let node = *self.random.pick(&["", "/a", "/a/x"]);
        let mut path = String::from("/zookeeper/quota~");
        let mut paths = vec![path.clone()];
        for name in node.split('/').skip(1) {
            path = format!("{path}/{name}");
            paths.push(path.clone());
        }
        let create = |path: String, data: Option<String>| {
            single(
                0,
                Op::Create {
                    code: 1,
                    path,
                    data,
                    acl: open_acl(),
                    flags: 0,
                    ttl: 0,
                },
            )
        };
        for path in paths {
            steps.push(create(path, None));
        }
        let limits = self.limits();
        steps.push(create(format!("{path}/zookeeper_limits"), Some(limits)));
        steps.push(create(
            format!("{path}/zookeeper_stats"),
            Some("count=0,bytes=0".into()),
        ));
        steps
    }

    pub(super) fn limits(&mut self) -> String {
        let soft = format!(
            "count={},bytes={}",
            self.random.pick(&["-1", "2", "5"]),
            self.random.pick(&["-1", "10"])
        );
        let (bytes, count) = (
            self.random.pick(&["-1", "8", "40"]).to_owned(),
            self.random.pick(&["-1", "2", "4", "7"]).to_owned(),
        );
        if self.random.chance(80) {
            format!("{soft}=;byteHardLimit={bytes};countHardLimit={count}")
        } else {
            soft
        }
    }

    pub(super) fn quota_op(&mut self) -> Op {
        let node = *self.random.pick(&["", "/a", "/a/x", "/b"]);
        let limits = format!("/zookeeper/quota~{node}/zookeeper_limits");
        let stats = format!("/zookeeper/quota~{node}/zookeeper_stats");
        match self.random.below(9) {
            0 | 1 => Op::SetData {
                path: limits,
                data: Some(self.limits()),
                version: -1,
            },
            2 => Op::Versioned {
                code: 2,
                path: limits,
                version: -1,
            },
            3 => Op::Versioned {
                code: 2,
                path: stats,
                version: -1,
            },
            4 => {
                let data = Some(self.limits());
                Op::Create {
                    code: 1,
                    path: limits,
                    data,
                    acl: open_acl(),
                    flags: 0,
                    ttl: 0,
                }
            }
            5 => {
                let data = Some("count=0,bytes=0".into());
                Op::Create {
                    code: 1,
                    path: stats,
                    data,
                    acl: open_acl(),
                    flags: 0,
                    ttl: 0,
                }
            }
            6 => Op::Read {
                code: 12,
                path: format!("/zookeeper/quota~{node}"),
                watch: true,
            },
            _ => Op::Read {
                code: 4,
                path: stats,
                watch: self.random.chance(30),
            },
        }
    }
}
