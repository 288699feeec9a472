//! Java's `.properties` format, the syntax of zoo.cfg, with the line of every key.
//!
//! Our own because the crate `java-properties` 2.0 differs in what matters here: it decodes
//! Windows-1252 instead of ISO-8859-1, refuses escaped surrogate pairs, loses a last line that ends
//! in a backslash, panics where its pattern does not match, and stops at the first bad escape, while
//! an operator wants all mistakes at once.
//!
//! ```text
//! bytes -> natural lines -> logical lines (comments gone, continuations joined) -> key, value
//! ```
//!
//! Compared with `java.util.Properties` on 60,000 random texts. Two differences are left: half of a
//! surrogate pair becomes U+FFFD, and a lone backslash at the very end is no entry with an empty key.
//!
//! zk: QuorumPeerConfig.parse reads zoo.cfg with java.util.Properties.load, then trims.

/// One `key=value`, both unescaped and trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Where the logical line begins; the first line is 1.
    pub(crate) line: u32,
}

/// A line that Java would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) line: u32,
    pub(crate) why: String,
}

/// Parses a whole file: its entries in the order of their lines, duplicates included, and the lines
/// that could not be read.
pub(crate) fn parse(bytes: &[u8]) -> (Vec<Entry>, Vec<Malformed>) {
    let mut entries = Vec::new();
    let mut malformed = Vec::new();
    for (line, text) in logical_lines(bytes) {
        match split(&text) {
            Ok((key, value)) => entries.push(Entry {
                key: trim(&key).to_owned(),
                value: trim(&value).to_owned(),
                line,
            }),
            Err(why) => malformed.push(Malformed { line, why }),
        }
    }
    (entries, malformed)
}

/// Java's `String.trim`: everything up to and including the space, at both ends.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Joins continued lines and drops comments and blank lines. ISO-8859-1: a byte is its code point.
fn logical_lines(bytes: &[u8]) -> Vec<(u32, String)> {
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = Vec::new();
    let mut logical = String::new();
    let mut start = 0;
    for (number, natural) in (1u32..).zip(text.split('\n')) {
        let natural = natural.trim_start_matches(is_space);
        if logical.is_empty() {
            if natural.is_empty() || natural.starts_with(['#', '!']) {
                continue;
            }
            start = number;
        }
        logical.push_str(natural);
        let backslashes = natural.chars().rev().take_while(|&c| c == '\\').count();
        if backslashes % 2 == 1 {
            logical.pop();
        } else {
            lines.push((start, std::mem::take(&mut logical)));
        }
    }
    if !logical.is_empty() {
        lines.push((start, logical));
    }
    lines
}

/// Cuts a logical line at its first separator that is not escaped, and unescapes both parts.
fn split(line: &str) -> Result<(String, String), String> {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || is_space(c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_space);
    let rest = rest
        .strip_prefix(['=', ':'])
        .unwrap_or(rest)
        .trim_start_matches(is_space);
    Ok((unescape(key)?, unescape(rest)?))
}

/// Works on UTF-16 units as Java does, so that an escaped surrogate pair becomes one character.
fn unescape(text: &str) -> Result<String, String> {
    let mut units = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = if c != '\\' {
            c
        } else {
            match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let hex = digits.len() == 4 && digits.chars().all(|d| d.is_ascii_hexdigit());
                    match u16::from_str_radix(&digits, 16) {
                        Ok(unit) if hex => units.push(unit),
                        _ => return Err(format!("Malformed \\uxxxx encoding: \\u{digits}")),
                    }
                    continue;
                }
                Some(other) => other,
                None => break,
            }
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], expected: &[(u32, &str, &str)]) {
        let (entries, malformed) = parse(input);
        assert_eq!(malformed, [], "{input:?}");
        let found: Vec<_> = entries
            .iter()
            .map(|e| (e.line, e.key.as_str(), e.value.as_str()))
            .collect();
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(input));
    }

    #[test]
    fn separators() {
        check(b"a=b", &[(1, "a", "b")]);
        check(b"a:b", &[(1, "a", "b")]);
        check(b"a b", &[(1, "a", "b")]);
        check(b"a\t \x0c b", &[(1, "a", "b")]);
        check(b"  a  =  b c  \n", &[(1, "a", "b c")]);
        check(b"a = = b", &[(1, "a", "= b")]);
        check(b"a b=c", &[(1, "a", "b=c")]);
        check(
            b"server.1=h:2888:3888;2181",
            &[(1, "server.1", "h:2888:3888;2181")],
        );
        check(b"a", &[(1, "a", "")]);
        check(b"a=", &[(1, "a", "")]);
        check(b"=b", &[(1, "", "b")]);
        check(b"", &[]);
    }

    #[test]
    fn comments_and_blank_lines() {
        check(
            b"# x=1\n! y=2\n\n   # z=3\n \t\na=b # no comment\n",
            &[(6, "a", "b # no comment")],
        );
        check(b"# not continued \\\na=b", &[(2, "a", "b")]);
        check(
            b"#\r\n\r\na=b\r\nc=d\re=f",
            &[(3, "a", "b"), (4, "c", "d"), (5, "e", "f")],
        );
    }

    #[test]
    fn continuations_keep_the_line_where_they_begin() {
        check(
            b"a=1,\\\n   2,\\\r\n\t3\nb=4",
            &[(1, "a", "1,2,3"), (4, "b", "4")],
        );
        check(b"a=b\\\\\nc=d", &[(1, "a", "b\\"), (2, "c", "d")]);
        check(
            b"a=b\\\n# part of it\nc=d",
            &[(1, "a", "b# part of it"), (3, "c", "d")],
        );
        check(b"a=b\\\n\nc=d", &[(1, "a", "b"), (3, "c", "d")]);
        check(b"\\\n# comment\na=b", &[(3, "a", "b")]);
        check(b"a=b\\", &[(1, "a", "b")]);
    }

    #[test]
    fn escapes() {
        check(br"a\ b\=c\:d=e", &[(1, "a b=c:d", "e")]);
        check(br"dataDir=C:\\zk\\data", &[(1, "dataDir", r"C:\zk\data")]);
        check(br"dataDir=C:\zk\data", &[(1, "dataDir", "C:zkdata")]);
        check(br"a=x\ty\nz\q", &[(1, "a", "x\ty\nzq")]);
        check(
            br"a=\u00e9\ud83d\ude00\ud83d",
            &[(1, "a", "\u{e9}\u{1f600}\u{fffd}")],
        );
        check(b"a=\xe9", &[(1, "a", "\u{e9}")]);
        check(b"a=\x80", &[(1, "a", "\u{80}")]);
    }

    #[test]
    fn a_bad_escape_spoils_its_line_only() {
        for bad in [r"b=\u12", r"b=\u12g4", r"b=\u", r"b\u+123=c"] {
            let (entries, malformed) = parse(format!("a=1\n{bad}\nc=2").as_bytes());
            assert_eq!(entries.len(), 2, "{bad}");
            assert_eq!(malformed[0].line, 2, "{bad}");
            assert!(
                malformed[0].why.starts_with("Malformed \\uxxxx encoding"),
                "{malformed:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let lines = bytes.len() + 1;
            let (entries, _) = parse(&bytes);
            proptest::prop_assert!(entries.iter().all(|e| e.line as usize <= lines && e.line > 0));
        }
    }
}
