//! Paths: what is a valid one, and the way up.

/// The root of the tree.
pub(in crate::state) const ROOT: &str = "/";
/// Where ZooKeeper keeps its own.
pub(in crate::state) const ZOOKEEPER: &str = "/zookeeper";
/// Where quotas are kept.
pub(in crate::state) const QUOTA: &str = "/zookeeper/quota";
/// The ensemble's configuration.
pub(in crate::state) const CONFIG: &str = "/zookeeper/config";

/// Whether a znode of this path may exist.
///
/// zk: PathUtils.validatePath, which tests UTF-16 units: everything above U+FFFF is refused there
/// for its surrogates.
pub(in crate::state) fn is_valid(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    if is_common(path.as_bytes()) {
        return true;
    }
    rest.split('/').all(|name| !matches!(name, "" | "." | "..")) && rest.chars().all(is_allowed)
}

/// True for most valid paths, which need no closer look: printable ASCII, no name begins with a dot
/// or is empty. Without an early end, so that many bytes are compared at once.
fn is_common(path: &[u8]) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~');
    let plain = path.iter().fold(true, |all, &byte| all & is_plain(byte));
    let pairs = path.iter().zip(path.iter().skip(1));
    let doubtful = pairs.fold(false, |any, (&byte, &next)| {
        any | ((byte == b'/') & ((next == b'/') | (next == b'.')))
    });
    plain && !doubtful && !path.ends_with(b"/")
}

fn is_allowed(c: char) -> bool {
    !matches!(c,
        '\0'..='\x1f'
        | '\x7f'..='\u{9f}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{fff0}'..=char::MAX)
}

/// The path that reads mean: the empty one is an alias of the root.
///
/// zk: DataTree's constructor, which puts the root under two keys.
pub(in crate::state) fn resolve(path: &str) -> &str {
    if path.is_empty() { ROOT } else { path }
}

/// Before and behind the last '/'.
///
/// `str::rsplit_once` does the same, in four times the instructions for a common path.
pub(crate) fn split_last(path: &str) -> Option<(&str, &str)> {
    let at = memchr::memrchr(b'/', path.as_bytes())?;
    Some((path.get(..at)?, path.get(at + 1..)?))
}

/// The parent and the last component; `None` without a '/' or with a NUL.
///
/// zk: PrepRequestProcessor.validatePathForCreate, getParentPathAndValidate.
pub(in crate::state) fn split(path: &str) -> Option<(&str, &str)> {
    if memchr::memchr(0, path.as_bytes()).is_some() {
        return None;
    }
    let (parent, name) = split_last(path)?;
    Some((resolve(parent), name))
}

/// The parent of a path that exists.
pub(in crate::state) fn parent(path: &str) -> &str {
    split_last(path).map_or(ROOT, |(parent, _)| resolve(parent))
}

/// Whether clients may not delete it.
///
/// zk: DataTree.isSpecialPath.
pub(in crate::state) fn is_special(path: &str) -> bool {
    matches!(path, ROOT | ZOOKEEPER | QUOTA | CONFIG)
}

/// The path itself and its ancestors, deepest first, without the root.
pub(in crate::state) fn upwards(path: &str) -> impl Iterator<Item = &str> {
    let first = (path.len() > 1).then_some(path);
    std::iter::successors(first, |path| {
        split_last(path)
            .map(|(parent, _)| parent)
            .filter(|parent| !parent.is_empty())
    })
}

/// Length as ZooKeeper counts it in approximate_data_size: UTF-16 units, and a valid path has
/// none but single ones.
pub(in crate::state) fn length(path: &str) -> u64 {
    if path.is_ascii() {
        return path.len() as u64;
    }
    path.chars().count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity() {
        for valid in [
            "/",
            "/a",
            "/a/b",
            "/...",
            "/.x",
            "/a..b",
            "/a/ ",
            "/\u{f900}",
            "/\u{2028}",
        ] {
            assert!(is_valid(valid), "{valid:?}");
        }
        let invalid = [
            "",
            "a",
            "a/b",
            "//",
            "//a",
            "/a/",
            "/a//b",
            "/.",
            "/..",
            "/a/.",
            "/a/../b",
            "/./a",
            "/a\0",
            "/\x1f",
            "/\x7f",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{10000}",
            "/\u{1f600}",
        ];
        for invalid in invalid {
            assert!(!is_valid(invalid), "{invalid:?}");
        }
    }

    #[test]
    fn splitting() {
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a/"), Some(("/a", "")));
        assert_eq!(split("//a"), Some(("/", "a")));
        assert_eq!(split("foo/bar"), Some(("foo", "bar")));
        assert_eq!(split("foo"), None);
        assert_eq!(split(""), None);
        assert_eq!(split("/a\0"), None);
    }

    #[test]
    fn the_way_up() {
        assert_eq!(
            upwards("/a/b/c").collect::<Vec<_>>(),
            ["/a/b/c", "/a/b", "/a"]
        );
        assert_eq!(upwards("/").count(), 0);
        assert_eq!(upwards("").count(), 0);
    }
}
