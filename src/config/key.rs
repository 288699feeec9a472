//! What one entry of the table of keys says, and how its value is read.
//!
//! An entry is built by a shape's constructor (`int`, `flag`, ...), which also takes what an honoured
//! value sets in the [`Builder`], and is then refined: `.ignored("why")`, `.later("what is missing")`,
//! `.refused("why")`, `.file()`, `.jvm()`, `.only_if(...)`. A verdict other than honour only speaks
//! when the value differs from ZooKeeper's default: a file that spells out defaults must stay silent.
//!
//! A value that cannot be read is a mistake where ZooKeeper does not start with it. Numbers that it
//! reads as Java's system properties fall back to their defaults, there and here.

use super::builder::Builder;

/// Where a setting may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only zoo.cfg: ZooKeeper parses it directly and never looks at a property of that name.
    File,
    /// zoo.cfg's `K` and the property `-Dzookeeper.K`.
    Both,
    /// As `Both`, and the bare property `-DK` too.
    BothAndBare,
    /// The property `-DK`, useless in ZooKeeper's zoo.cfg; here taken from there too, with a warning.
    Jvm,
    /// A setting of our own: zoo.cfg's `K` and `-DK`.
    Ours,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// In force.
    Honour,
    /// Accepted; its feature is not built yet, which one warning says.
    Later(&'static str),
    /// Has no meaning here and needs none.
    Ignore,
    /// Has no meaning here, and the operator should know why.
    Warn(&'static str),
    /// To go on without it would change what is safe or who may do what.
    Refuse(&'static str),
}

/// How the text is read, and where an honoured value goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// `true` or `false` in any case; anything else is a mistake.
    Flag(fn(&mut Builder, bool)),
    /// `true` in any case; anything else means false, as for a Java system property.
    LooseFlag(fn(&mut Builder, bool)),
    /// `yes` or `no`; anything else means the default.
    YesNo(fn(&mut Builder, bool)),
    /// A whole number. What is outside the bounds is refused, but for what is none to Java either.
    Int {
        min: i64,
        max: i64,
        set: fn(&mut Builder, i64),
    },
    /// Bytes, with an optional K, M or G.
    Size {
        min: u64,
        max: u64,
        set: fn(&mut Builder, u64),
    },
    /// A decimal fraction.
    Real(fn(&mut Builder, f64)),
    /// Any text; the setter may find it wrong.
    Text(fn(&mut Builder, &str) -> Result<(), String>),
}

/// Why a value was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Java takes the default for it, without a word.
    Default(String),
    /// It is a mistake.
    Mistake(String),
}

/// One entry of the table. A name that ends in `*` stands for every key that begins so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// The documented title, where ZooKeeper's manual has one that is not the key.
    pub(crate) title: Option<&'static str>,
    pub(crate) reach: Reach,
    pub(crate) shape: Shape,
    /// ZooKeeper's default as it would be written in zoo.cfg; empty: unset.
    pub(crate) default: &'static str,
    /// A second value besides the default that needs no word, as what we do anyway.
    pub(crate) quiet: Option<&'static str>,
    pub(crate) verdict: Verdict,
    /// Said when an honoured value is not the default, because it is dangerous.
    pub(crate) caution: Option<&'static str>,
    /// A value that the setter finds wrong is only warned of.
    pub(crate) lenient: bool,
    /// The key means nothing, and is not read at all, unless this other key holds this value.
    pub(crate) only_if: Option<(&'static str, &'static str)>,
    /// Numbers that ZooKeeper does not start with, and why.
    pub(crate) fatal: Option<(i64, i64, &'static str)>,
    pub(crate) doc: &'static str,
}

/// The largest number of Java's `int`.
pub(crate) const I32: i64 = i32::MAX as i64;
/// All numbers of Java's `int`.
pub(crate) const I32_ALL: (i64, i64) = (i32::MIN as i64, I32);
/// All numbers of Java's `long`.
pub(crate) const I64_ALL: (i64, i64) = (i64::MIN, i64::MAX);

const fn key(name: &'static str, shape: Shape, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        title: None,
        reach: Reach::Both,
        shape,
        default,
        quiet: None,
        verdict: Verdict::Honour,
        caution: None,
        lenient: false,
        only_if: None,
        fatal: None,
        doc,
    }
}

pub(crate) const fn flag(
    name: &'static str,
    default: &'static str,
    set: fn(&mut Builder, bool),
    doc: &'static str,
) -> Key {
    key(name, Shape::LooseFlag(set), default, doc)
}

pub(crate) const fn strict_flag(
    name: &'static str,
    default: &'static str,
    set: fn(&mut Builder, bool),
    doc: &'static str,
) -> Key {
    key(name, Shape::Flag(set), default, doc).file()
}

pub(crate) const fn yes_no(
    name: &'static str,
    default: &'static str,
    set: fn(&mut Builder, bool),
    doc: &'static str,
) -> Key {
    key(name, Shape::YesNo(set), default, doc)
}

pub(crate) const fn int(
    name: &'static str,
    (min, max): (i64, i64),
    default: &'static str,
    set: fn(&mut Builder, i64),
    doc: &'static str,
) -> Key {
    key(name, Shape::Int { min, max, set }, default, doc)
}

pub(crate) const fn size(
    name: &'static str,
    (min, max): (u64, u64),
    default: &'static str,
    set: fn(&mut Builder, u64),
    doc: &'static str,
) -> Key {
    key(name, Shape::Size { min, max, set }, default, doc)
}

pub(crate) const fn text(
    name: &'static str,
    default: &'static str,
    set: fn(&mut Builder, &str) -> Result<(), String>,
    doc: &'static str,
) -> Key {
    key(name, Shape::Text(set), default, doc)
}

pub(crate) const fn real_number(
    name: &'static str,
    default: &'static str,
    set: fn(&mut Builder, f64),
    doc: &'static str,
) -> Key {
    key(name, Shape::Real(set), default, doc)
}

/// Keys that set nothing: their shape is checked, then their verdict applies.
pub(crate) const fn unset_flag(
    name: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Shape::LooseFlag(|_, _| ()), default, doc)
}

pub(crate) const fn unset_int(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    key(
        name,
        Shape::Int {
            min: i64::MIN,
            max: i64::MAX,
            set: |_, _| (),
        },
        default,
        doc,
    )
}

pub(crate) const fn unset_text(
    name: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Shape::Text(|_, _| Ok(())), default, doc)
}

pub(crate) const fn unset_real(
    name: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Key {
    real_number(name, default, |_, _| (), doc)
}

impl Key {
    pub(crate) const fn file(mut self) -> Key {
        self.reach = Reach::File;
        self
    }

    /// Also where the shape's constructor says that zoo.cfg is the only place.
    pub(crate) const fn both(mut self) -> Key {
        self.reach = Reach::Both;
        self
    }

    pub(crate) const fn jvm(mut self) -> Key {
        self.reach = Reach::Jvm;
        self
    }

    pub(crate) const fn bare(mut self) -> Key {
        self.reach = Reach::BothAndBare;
        self
    }

    pub(crate) const fn ours(mut self) -> Key {
        self.reach = Reach::Ours;
        self
    }

    pub(crate) const fn title(mut self, title: &'static str) -> Key {
        self.title = Some(title);
        self
    }

    pub(crate) const fn quiet(mut self, value: &'static str) -> Key {
        self.quiet = Some(value);
        self
    }

    pub(crate) const fn caution(mut self, text: &'static str) -> Key {
        self.caution = Some(text);
        self
    }

    pub(crate) const fn lenient(mut self) -> Key {
        self.lenient = true;
        self
    }

    pub(crate) const fn only_if(mut self, key: &'static str, value: &'static str) -> Key {
        self.only_if = Some((key, value));
        self
    }

    /// Refuses the numbers from `first` to `last`.
    pub(crate) const fn fatal(mut self, (first, last): (i64, i64), why: &'static str) -> Key {
        self.fatal = Some((first, last, why));
        self
    }

    pub(crate) const fn ignored(mut self) -> Key {
        self.verdict = Verdict::Ignore;
        self
    }

    pub(crate) const fn later(mut self, what: &'static str) -> Key {
        self.verdict = Verdict::Later(what);
        self
    }

    pub(crate) const fn warned(mut self, why: &'static str) -> Key {
        self.verdict = Verdict::Warn(why);
        self
    }

    pub(crate) const fn refused(mut self, why: &'static str) -> Key {
        self.verdict = Verdict::Refuse(why);
        self
    }

    /// Whether `name` is this key, exactly or by its prefix.
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => self.name == name,
        }
    }

    /// The value in a form that can be compared, so `0x10` and `16` are the same.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub(crate) fn canonical(&self, value: &str) -> Result<String, Unread> {
        let text = match self.shape {
            Shape::Flag(_) => strict(self.name, value).map(|on| on.to_string()),
            Shape::LooseFlag(_) => Ok(loose(value).to_string()),
            Shape::YesNo(_) => Ok(if self.yes(value) { "yes" } else { "no" }.to_owned()),
            Shape::Int { min, max, .. } => {
                return self.number(value, min, max).map(|n| n.to_string());
            }
            Shape::Size { min, max, .. } => bytes(value, min, max).map(|n| n.to_string()),
            Shape::Real(_) => real(value).map(|n| n.to_string()),
            Shape::Text(_) => Ok(value.to_owned()),
        };
        text.map_err(Unread::Mistake)
    }

    /// Sets an honoured value.
    ///
    /// # Errors
    /// What was expected and what was found; nothing is set then.
    pub(crate) fn apply(&self, builder: &mut Builder, value: &str) -> Result<(), String> {
        match self.shape {
            Shape::Flag(set) => set(builder, strict(self.name, value)?),
            Shape::LooseFlag(set) => set(builder, loose(value)),
            Shape::YesNo(set) => set(builder, self.yes(value)),
            Shape::Int { min, max, set } => match self.number(value, min, max) {
                Ok(number) => set(builder, number),
                Err(Unread::Default(why) | Unread::Mistake(why)) => return Err(why),
            },
            Shape::Size { min, max, set } => set(builder, bytes(value, min, max)?),
            Shape::Real(set) => set(builder, real(value)?),
            Shape::Text(set) => set(builder, value)?,
        }
        Ok(())
    }

    /// What ZooKeeper silently reads otherwise than the operator may think.
    pub(crate) fn oddity(&self, value: &str) -> Option<String> {
        let (expected, taken) = match self.shape {
            Shape::LooseFlag(_) if strict(self.name, value).is_err() => ("true or false", "false"),
            Shape::YesNo(_) if value != "yes" && value != "no" => ("yes or no", self.default),
            Shape::Flag(_)
            | Shape::LooseFlag(_)
            | Shape::YesNo(_)
            | Shape::Int { .. }
            | Shape::Size { .. }
            | Shape::Real(_)
            | Shape::Text(_) => return None,
        };
        Some(format!(
            "expected {expected}, found {value:?}: taken for {taken}"
        ))
    }

    fn yes(&self, value: &str) -> bool {
        if self.default == "yes" {
            value != "no"
        } else {
            value == "yes"
        }
    }

    /// zk: Integer.parseInt for zoo.cfg's own keys, which refuses what it cannot read; for system
    /// properties Integer.getInteger and Long.getLong, which know hexadecimal and octal numbers and
    /// answer the default for all else.
    fn number(&self, value: &str, min: i64, max: i64) -> Result<i64, Unread> {
        let strict = matches!(self.reach, Reach::File | Reach::Ours);
        let number = if strict {
            decimal(value)
        } else {
            decode(value)
        };
        let (java_min, java_max) = if max > I32 || min < i64::from(i32::MIN) {
            I64_ALL
        } else {
            I32_ALL
        };
        let hint = if value.contains('#') {
            " (a comment needs a line of its own)"
        } else {
            ""
        };
        let wrong = match number {
            Some(number) if (min..=max).contains(&number) => return self.permitted(number),
            Some(number) if (java_min..=java_max).contains(&number) && !strict => {
                return Err(Unread::Mistake(format!(
                    "expected {min} to {max}, found {value}"
                )));
            }
            Some(_) => format!("expected {min} to {max}, found {value}"),
            None if is_long(value) => {
                format!("expected a whole number of 64 bits, found {value}")
            }
            None => format!("expected a whole number, found {value:?}{hint}"),
        };
        Err(if strict {
            Unread::Mistake(wrong)
        } else {
            Unread::Default(wrong)
        })
    }

    fn permitted(&self, number: i64) -> Result<i64, Unread> {
        match self.fatal {
            Some((first, last, why)) if (first..=last).contains(&number) => {
                Err(Unread::Mistake(format!("{number} is refused: {why}")))
            }
            _ => Ok(number),
        }
    }
}

/// zk: Integer.parseInt, Long.parseLong: digits with an optional sign.
fn decimal(value: &str) -> Option<i64> {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| value.parse().ok()).flatten()
}

/// zk: Long.decode: `0x`, `0X` and `#` begin a hexadecimal number, another zero an octal one.
fn decode(value: &str) -> Option<i64> {
    let (sign, digits) = match value.strip_prefix(['-', '+']) {
        Some(digits) if value.starts_with('-') => ("-", digits),
        Some(digits) => ("", digits),
        None => ("", value),
    };
    let hex = ["0x", "0X", "#"]
        .iter()
        .find_map(|mark| digits.strip_prefix(mark));
    let (digits, radix) = match (hex, digits.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        (None, _) => (digits, 10),
    };
    let plain = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    plain
        .then(|| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok())
        .flatten()
}

/// Whether these are digits, too many of them.
fn is_long(value: &str) -> bool {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    digits.len() > 18 && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// zk: QuorumPeerConfig.parseBoolean, with its words.
fn strict(name: &str, value: &str) -> Result<bool, String> {
    if value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(format!(
            "Invalid option {value} for {name}. Choose 'true' or 'false.'"
        ))
    }
}

fn loose(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

fn bytes(value: &str, min: u64, max: u64) -> Result<u64, String> {
    let upper = value.to_ascii_uppercase();
    let number = upper.strip_suffix('B').unwrap_or(&upper);
    let (number, shift) = match number.chars().last() {
        Some('K') => (number.trim_end_matches('K'), 10),
        Some('M') => (number.trim_end_matches('M'), 20),
        Some('G') => (number.trim_end_matches('G'), 30),
        _ => (number, 0),
    };
    let number: u64 = number
        .trim()
        .parse()
        .map_err(|_| format!("expected bytes such as 512K, 64M or 2G, found {value:?}"))?;
    let total = number.checked_mul(1 << shift);
    match total {
        Some(total) if (min..=max).contains(&total) => Ok(total),
        _ => Err(format!("expected {min} to {max} bytes, found {value}")),
    }
}

fn real(value: &str) -> Result<f64, String> {
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("expected a number, found {value:?}")),
    }
}
