//! Orders as Java 17 lists such sets.

use super::*;

/// `ip:127.0.0.1`, then so many more of `digest`, added one by one; which is where in the end.
fn check(count: usize, expected: &[usize]) {
    let name = |scheme: &str, id: String| Identity {
        scheme: scheme.into(),
        id: id.into(),
    };
    let digest = |number| name("digest", format!("user{number}:\u{e9}{}", number * 7919));
    let mut came = vec![name("ip", "127.0.0.1".to_owned())];
    came.extend((1..count).map(digest));
    let mut list = Vec::new();
    for identity in &came {
        list = insert(&list, identity.clone());
    }
    let number = |found: &Identity| came.iter().position(|identity| identity == found);
    let found: Vec<_> = list.iter().filter_map(number).collect();
    assert_eq!(found, expected);
}

#[test]
fn identities_are_listed_as_in_java() {
    check(1, &[0]);
    check(3, &[1, 2, 0]);
    check(11, &[5, 6, 3, 4, 9, 1, 2, 0, 7, 8, 10]);
    #[rustfmt::skip]
    check(12, &[
        5, 6, 3, 2, 0, 8, 4, 9, 1, 11, 7, 10,
    ]);
    #[rustfmt::skip]
    check(25, &[
        5, 6, 19, 15, 2, 0, 21, 16, 22, 12, 4, 9, 1, 11, 23, 10, 17, 3, 20, 13, 8, 18, 24, 14, 7,
    ]);
    #[rustfmt::skip]
    check(60, &[
        33, 6, 15, 41, 2, 45, 16, 53, 12, 49, 50, 9, 25, 1, 36, 44, 17, 43, 20, 13, 31, 35, 18, 48,
        14, 57, 34, 27, 5, 19, 26, 52, 30, 39, 21, 0, 22, 4, 28, 51, 56, 11, 23, 10, 40, 3, 42, 47,
        55, 29, 8, 32, 59, 24, 38, 46, 7, 54, 37, 58,
    ]);
    #[rustfmt::skip]
    check(200, &[
        6, 110, 115, 159, 165, 121, 16, 144, 49, 143, 114, 167, 166, 17, 105, 120, 150, 18, 48, 104,
        151, 101, 185, 190, 19, 112, 158, 62, 39, 69, 22, 102, 179, 147, 28, 10, 100, 126, 139, 8,
        24, 164, 184, 7, 123, 37, 58, 119, 130, 15, 193, 53, 136, 12, 74, 9, 187, 174, 186, 194,
        171, 36, 160, 43, 109, 63, 199, 127, 35, 183, 135, 181, 108, 129, 14, 170, 176, 103, 27,
        178, 189, 0, 145, 116, 191, 51, 64, 11, 40, 155, 168, 140, 32, 59, 85, 38, 93, 125, 46, 72,
        80, 76, 132, 41, 82, 177, 71, 89, 67, 25, 1, 154, 83, 195, 90, 138, 196, 66, 78, 148, 31,
        61, 57, 156, 73, 96, 133, 60, 94, 68, 52, 26, 30, 91, 65, 95, 98, 4, 141, 77, 161, 56, 75,
        86, 162, 180, 3, 87, 47, 92, 106, 137, 134, 153, 169, 157, 54, 33, 124, 2, 45, 122, 175,
        172, 50, 88, 118, 44, 117, 142, 20, 13, 79, 99, 131, 111, 34, 163, 152, 5, 146, 188, 21,
        192, 149, 23, 107, 84, 173, 198, 70, 42, 182, 55, 81, 29, 197, 113, 97, 128,
    ]);
}

#[test]
fn the_hash_is_that_of_java() {
    // "polygenelubricants".hashCode() is the smallest number there is.
    assert_eq!(hash_text("polygenelubricants"), 1 << 31);
    assert_eq!(hash_text(""), 0);
    // Two units.
    assert_eq!(hash_text("\u{1f600}"), 0xd83d * 31 + 0xde00);
}
