//! The keyspace of the tree's database: which column families there are and how their keys look
//! (formats.md 4).
//!
//! A znode's key is its depth (two bytes, big-endian) and its path. So the children of `/a/b` are
//! one contiguous range, depth 3 with the prefix `/a/b/`, in byte order of their names; and all
//! that lies below `/a/b` at one depth is one range too. No second index can go out of step.

use crate::state::{SessionId, split_last};

/// Column families of the database `tree`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::storage) enum Family {
    /// Depth and path to znode.
    Nodes,
    /// ACL id (8 bytes, big-endian) to the list and its reference count.
    Acls,
    /// Session id (8 bytes) to its record.
    Sessions,
    /// Session id (8 bytes) and path to nothing.
    Ephemerals,
    /// Path of a container or TTL node to nothing.
    Reap,
    /// Path under quota to nothing.
    Quota,
    /// The keys of [`meta`].
    Meta,
}

impl Family {
    /// All of them; new ones are added at the end.
    pub(in crate::storage) const ALL: [Self; 7] = [
        Self::Nodes,
        Self::Acls,
        Self::Sessions,
        Self::Ephemerals,
        Self::Reap,
        Self::Quota,
        Self::Meta,
    ];

    /// Its name on disk.
    pub(in crate::storage) fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Acls => "acls",
            Self::Sessions => "sessions",
            Self::Ephemerals => "ephemerals",
            Self::Reap => "reap",
            Self::Quota => "quota",
            Self::Meta => "meta",
        }
    }
}

/// Keys of the `meta` family.
pub(in crate::storage) mod meta {
    /// The format version.
    pub(in crate::storage) const FORMAT: &[u8] = b"format";
    /// The random id that says which log and tree belong together.
    pub(in crate::storage) const STORE: &[u8] = b"store";
    /// There once the log of this tree has been begun.
    pub(in crate::storage) const LOG_BEGUN: &[u8] = b"log begun";
    /// There if this tree came from another server: the position that it had then. The log of this
    /// server goes on behind it.
    pub(in crate::storage) const INSTALLED: &[u8] = b"installed";
    /// The small rest of the state.
    pub(in crate::storage) const STATE: &[u8] = b"state";
}

/// Depths above this share a key range; listings there look for a second slash.
const DEPTH_MAX: u16 = u16::MAX;

/// Number of components of `path`: 0 for "/", 1 for "/a".
pub(in crate::storage) fn depth(path: &str) -> u16 {
    if path.len() <= 1 {
        return 0;
    }
    let slashes = path.bytes().filter(|&byte| byte == b'/').count();
    u16::try_from(slashes).unwrap_or(DEPTH_MAX)
}

/// Key of the znode at `path`.
pub(in crate::storage) fn node(path: &str) -> Vec<u8> {
    with_depth(depth(path), path.as_bytes())
}

/// Replaces the contents of `key` by the key of the znode at `path`.
pub(in crate::storage) fn put_node(path: &str, key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(&depth(path).to_be_bytes());
    key.extend_from_slice(path.as_bytes());
}

/// The path in a key of `nodes`.
pub(in crate::storage) fn node_path(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(2..)?).ok()
}

/// All that lies below one znode at one depth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::storage) struct Below {
    /// Which depth.
    pub depth: u16,
    /// How the paths begin; ends with a slash.
    pub prefix: String,
}

impl Below {
    /// The children of `parent`.
    pub(in crate::storage) fn children(parent: &str) -> Self {
        let prefix = if parent == "/" {
            "/".to_owned()
        } else {
            format!("{parent}/")
        };
        Self {
            depth: depth(parent).saturating_add(1),
            prefix,
        }
    }

    /// One depth further down; `None` at the deepest.
    pub(in crate::storage) fn deeper(self) -> Option<Self> {
        let depth = self.depth.checked_add(1)?;
        Some(Self {
            depth,
            prefix: self.prefix,
        })
    }

    /// First key of the range.
    pub(in crate::storage) fn start(&self) -> Vec<u8> {
        with_depth(self.depth, self.prefix.as_bytes())
    }

    /// First key behind the range.
    pub(in crate::storage) fn end(&self) -> Vec<u8> {
        let mut end = self.start();
        if let Some(last) = end.last_mut() {
            // The prefix ends with a slash; the byte behind a slash is '0'.
            *last += 1;
        }
        end
    }

    /// True if `path` lies in the range.
    pub(in crate::storage) fn holds(&self, path: &str) -> bool {
        path.len() > self.prefix.len()
            && path.starts_with(&self.prefix)
            && depth(path) == self.depth
    }

    /// The name of a direct child of the znode that [`Below::children`] was made for.
    pub(in crate::storage) fn child_name<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.prefix.as_str())
            .filter(|name| is_name(name))
    }
}

/// Splits a path into its parent's path and its name; `None` for "/".
pub(in crate::storage) fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = split_last(path)?;
    if name.is_empty() {
        return None;
    }
    Some((if parent.is_empty() { "/" } else { parent }, name))
}

/// Key of a session.
pub(in crate::storage) fn session(id: SessionId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// Key of an ephemeral of a session.
pub(in crate::storage) fn ephemeral(id: SessionId, path: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + path.len());
    key.extend_from_slice(&session(id));
    key.extend_from_slice(path.as_bytes());
    key
}

/// Session and path in a key of `ephemerals`.
pub(in crate::storage) fn read_ephemeral(key: &[u8]) -> Option<(SessionId, &str)> {
    let (id, path) = key.split_first_chunk::<8>()?;
    Some((
        SessionId(i64::from_be_bytes(*id)),
        std::str::from_utf8(path).ok()?,
    ))
}

fn with_depth(depth: u16, path: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + path.len());
    key.extend_from_slice(&depth.to_be_bytes());
    key.extend_from_slice(path);
    key
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_depth_then_path() {
        let sorted = ["/", "/a", "/b", "/a/x", "/a/y", "/b/a", "/a/x/1"];
        let keys: Vec<_> = sorted.iter().map(|path| node(path)).collect();
        assert!(keys.is_sorted());
        for (key, path) in keys.iter().zip(sorted) {
            assert_eq!(node_path(key), Some(path));
        }
    }

    #[test]
    fn children_are_one_range() {
        let below = Below::children("/a/b");
        let inside = |path: &str| (below.start()..below.end()).contains(&node(path));
        assert!(inside("/a/b/c") && inside("/a/b/\u{ffff}"));
        for outside in ["/a/b", "/a/b/c/d", "/a/b0/c", "/a/b.c/d", "/a/bc/d", "/a"] {
            assert!(!inside(outside), "{outside}");
            assert!(!below.holds(outside), "{outside}");
        }
        assert_eq!(below.child_name("/a/b/c"), Some("c"));
        assert_eq!(Below::children("/").child_name("/c"), Some("c"));
        assert!((Below::children("/").start()..Below::children("/").end()).contains(&node("/x")));
    }

    #[test]
    fn paths_split_into_parent_and_name() {
        assert_eq!(split("/"), None);
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
    }

    #[test]
    fn depths_beyond_the_key_still_list_only_children() {
        let deep = "/x".repeat(usize::from(DEPTH_MAX) + 5);
        let below = Below::children(&deep);
        assert_eq!(depth(&deep), DEPTH_MAX);
        assert_eq!(below.child_name(&format!("{deep}/y")), Some("y"));
        assert_eq!(below.child_name(&format!("{deep}/y/z")), None);
        assert_eq!(below.deeper(), None);
    }

    #[test]
    fn ephemeral_keys_come_back() {
        let key = ephemeral(SessionId(-5), "/a/b");
        assert_eq!(read_ephemeral(&key), Some((SessionId(-5), "/a/b")));
        assert_eq!(read_ephemeral(&key[..7]), None);
    }
}
