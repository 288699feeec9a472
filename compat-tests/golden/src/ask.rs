//! From the words of a command to a request.

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use goldenscript::{Argument, Command};
use jute::{
    Acl, AddWatch, Auth, Check, CheckWatches, Create, CreateTtl, Delete, Exists, GetAcl,
    GetAllChildrenNumber, GetChildren, GetChildren2, GetData, GetEphemerals, Id, Multi, MultiOp,
    MultiRead, MultiReadOp, OpCode, RemoveWatches, Request, SetAcl, SetData, SetWatches2, Sync,
    Text,
};

/// How the server is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Quotas refuse.
    pub enforce_quota: bool,
    /// No ACL is checked.
    pub skip_acl: bool,
}

impl Settings {
    /// Takes the words of `config`.
    ///
    /// # Errors
    /// A key that is none.
    pub fn of(words: &Words) -> Result<Self> {
        let mut settings = Self::default();
        for (key, value) in &words.keys {
            let on = value == "yes";
            match key.as_str() {
                "enforce_quota" => settings.enforce_quota = on,
                "skip_acl" => settings.skip_acl = on,
                _ => bail!("no setting {key}"),
            }
        }
        Ok(settings)
    }
}

/// A command's words, for commands and for the ops of a multi.
#[derive(Debug)]
pub struct Words {
    positional: Vec<String>,
    keys: Vec<(String, String)>,
}

impl Words {
    /// Those of a command.
    pub fn of(command: &Command) -> Self {
        let mut words = Self {
            positional: Vec::new(),
            keys: Vec::new(),
        };
        for arg in &command.args {
            match arg {
                Argument::KeyValue(key, value) => words.keys.push((key.clone(), value.clone())),
                Argument::Positional(value) => words.positional.push(value.clone()),
                _ => {}
            }
        }
        words
    }

    fn parse(text: &str) -> Result<(String, Self)> {
        let mut parts = text.split_whitespace().map(str::to_owned);
        let name = parts.next().context("an empty op")?;
        let mut words = Self {
            positional: Vec::new(),
            keys: Vec::new(),
        };
        for word in parts {
            match word.split_once('=') {
                Some((key, value)) => words.keys.push((key.to_owned(), value.to_owned())),
                None => words.positional.push(word),
            }
        }
        Ok((name, words))
    }

    /// One of those without a key, by its place.
    pub fn at(&self, index: usize) -> Option<&str> {
        self.positional.get(index).map(String::as_str)
    }

    /// What stands behind `NAME=`.
    pub fn key(&self, name: &str) -> Option<&str> {
        let found = self.keys.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn path(&self) -> Option<Text> {
        self.at(0).filter(|path| *path != "null").map(Text::from)
    }

    fn data(&self) -> Option<Bytes> {
        let data = self.at(1).unwrap_or_default();
        (data != "null").then(|| Bytes::from(data.to_owned()))
    }

    fn version(&self, at: usize) -> Result<i32> {
        self.at(at).map_or(Ok(-1), |text| {
            text.parse().with_context(|| format!("version {text}"))
        })
    }

    fn watch(&self) -> bool {
        self.at(1) == Some("watch")
    }

    fn paths(&self, key: &str) -> Option<Vec<Option<Text>>> {
        let paths = self.key(key).unwrap_or_default().split(',');
        let paths = paths.filter(|path| !path.is_empty());
        Some(paths.map(|path| Some(Text::from(path))).collect())
    }
}

/// `scheme:id:perms`, separated by `;`.
///
/// # Errors
/// An entry lacks a part, or its perms are no number.
pub fn acls(text: &str) -> Result<Vec<Acl>> {
    let entry = |entry: &str| {
        let (id, perms) = entry.rsplit_once(':').context("an ACL without perms")?;
        let (scheme, id) = id.split_once(':').context("an ACL without id")?;
        let id = Id {
            scheme: Some(Text::from(scheme)),
            id: (id != "null").then(|| Text::from(id)),
        };
        let perms = perms.parse().context("perms")?;
        Ok(Acl { perms, id })
    };
    let entries = text.split(';').filter(|entry| !entry.is_empty());
    entries.map(entry).collect()
}

fn create(words: &Words) -> Result<Request> {
    let flags = words.key("flags").unwrap_or("0").parse().context("flags")?;
    let acl = Some(acls(words.key("acl").unwrap_or("world:anyone:31"))?);
    let (path, data) = (words.path(), words.data());
    let create = Create {
        path,
        data,
        acl,
        flags,
    };
    Ok(match words.key("op").unwrap_or("create") {
        "create" => Request::Create(create),
        "create2" => Request::Create2(create),
        "container" => Request::CreateContainer(create),
        "ttl" => {
            let ttl_ms = words.key("ttl").unwrap_or("1000").parse().context("ttl")?;
            let Create {
                path,
                data,
                acl,
                flags,
            } = create;
            Request::CreateTtl(CreateTtl {
                path,
                data,
                acl,
                flags,
                ttl_ms,
            })
        }
        other => bail!("no op {other}"),
    })
}

fn multi_op(text: &str) -> Result<MultiOp> {
    let (name, words) = Words::parse(text)?;
    let asked = change(&name, &words)?.with_context(|| format!("{name} in a multi"))?;
    Ok(if let Request::Create(create) = asked {
        if create.flags == 4 {
            MultiOp::CreateContainer(create)
        } else {
            MultiOp::Create(create)
        }
    } else if let Request::Create2(create) = asked {
        MultiOp::Create2(create)
    } else if let Request::CreateContainer(create) = asked {
        MultiOp::CreateContainer(create)
    } else if let Request::CreateTtl(create) = asked {
        MultiOp::CreateTtl(create)
    } else if let Request::Delete(delete) = asked {
        MultiOp::Delete(delete)
    } else if let Request::SetData(set) = asked {
        MultiOp::SetData(set)
    } else if let Request::Check(check) = asked {
        MultiOp::Check(check)
    } else {
        bail!("{name} in a multi")
    })
}

fn multi_read_op(text: &str) -> Result<MultiReadOp> {
    let (name, words) = Words::parse(text)?;
    let (path, watch) = (words.path(), false);
    Ok(match name.as_str() {
        "ls" => MultiReadOp::GetChildren(GetChildren { path, watch }),
        "get" => MultiReadOp::GetData(GetData { path, watch }),
        other => bail!("{other} in a multiread"),
    })
}

/// The request that a command for a change stands for; `None`: it is none.
///
/// # Errors
/// A word that such a command needs is missing, or is none.
pub fn change(name: &str, words: &Words) -> Result<Option<Request>> {
    let path = words.path();
    Ok(Some(match name {
        "create" => create(words)?,
        "delete" => Request::Delete(Delete {
            path,
            version: words.version(1)?,
        }),
        "set" => Request::SetData(SetData {
            path,
            data: words.data(),
            version: words.version(2)?,
        }),
        "setacl" => Request::SetAcl(SetAcl {
            path,
            acl: Some(acls(words.at(1).context("no ACL")?)?),
            version: words.version(2)?,
        }),
        "check" => Request::Check(Check {
            path,
            version: words.version(1)?,
        }),
        "multi" => {
            let ops = words.positional.iter().map(|op| multi_op(op));
            Request::Multi(Multi {
                ops: ops.collect::<Result<_>>()?,
            })
        }
        _ => return Ok(None),
    }))
}

fn kind(words: &Words) -> Result<i32> {
    Ok(match words.at(1) {
        Some("children") => 1,
        Some("data") => 2,
        Some("any") => 3,
        Some("persistent") => 4,
        Some("recursive") => 5,
        other => bail!("no kind of watch: {other:?}"),
    })
}

fn watches(name: &str, words: &Words, since: i64) -> Result<Option<Request>> {
    let path = words.path();
    Ok(Some(match name {
        "addwatch" => {
            let mode = match words.at(1) {
                Some("persistent") => 0,
                Some("recursive") => 1,
                other => bail!("no mode of watch: {other:?}"),
            };
            Request::AddWatch(AddWatch { path, mode })
        }
        "checkwatch" => Request::CheckWatches(CheckWatches {
            path,
            kind: kind(words)?,
        }),
        "removewatch" => Request::RemoveWatches(RemoveWatches {
            path,
            kind: kind(words)?,
        }),
        "setwatches" => Request::SetWatches2(SetWatches2 {
            relative_zxid: since,
            data_watches: words.paths("data"),
            exist_watches: words.paths("exist"),
            child_watches: words.paths("child"),
            persistent_watches: words.paths("persistent"),
            persistent_recursive_watches: words.paths("recursive"),
        }),
        _ => return Ok(None),
    }))
}

/// The request that a command which only asks stands for; `None`: it is none.
///
/// # Errors
/// As [`change`].
pub fn read(name: &str, words: &Words) -> Result<Option<Request>> {
    let (path, watch) = (words.path(), words.watch());
    Ok(Some(match name {
        "stat" => Request::Exists(Exists { path, watch }),
        "get" => Request::GetData(GetData { path, watch }),
        "ls" => Request::GetChildren(GetChildren { path, watch }),
        "ls2" => Request::GetChildren2(GetChildren2 { path, watch }),
        "getacl" => Request::GetAcl(GetAcl { path }),
        "count" => Request::GetAllChildrenNumber(GetAllChildrenNumber { path }),
        "ephemerals" => Request::GetEphemerals(GetEphemerals { prefix: path }),
        "sync" => Request::Sync(Sync { path }),
        "whoami" => Request::WhoAmI,
        "auth" => Request::Auth(Auth {
            kind: 0,
            scheme: path,
            auth: words.data(),
        }),
        "multiread" => {
            let ops = words.positional.iter().map(|op| multi_read_op(op));
            Request::MultiRead(MultiRead {
                ops: ops.collect::<Result<_>>()?,
            })
        }
        _ => return Ok(None),
    }))
}

/// The opcode and the body that a command stands for. `since`: of setwatches.
pub(crate) fn asked(name: &str, words: &Words, since: i64) -> Result<(OpCode, Bytes)> {
    let mut body = BytesMut::new();
    if name == "undecodable" {
        let (name, words) = Words::parse(words.at(0).context("no op")?)?;
        let (op, mut body) = asked(&name, &words, since)?;
        body.truncate(body.len() / 2);
        return Ok((op, body));
    }
    let request = match change(name, words)? {
        Some(request) => request,
        None => match read(name, words)? {
            Some(request) => request,
            None => watches(name, words, since)?.with_context(|| format!("no command {name}"))?,
        },
    };
    request.encode_body(&mut body);
    Ok((request.op(), body.freeze()))
}
