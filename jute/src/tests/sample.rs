//! Random values of every type that can stand on the wire.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::{
    Check, Create, CreateTtl, Delete, ErrorCode, GetChildren, GetChildrenResponse, GetData, Multi,
    MultiOp, MultiRead, MultiReadOp, MultiResponse, MultiResult, OpCode, SetData, Stat, Text,
};

/// A type with a strategy; `record!` implements it for every record.
pub(crate) trait Sample: Sized + std::fmt::Debug {
    /// Values of all shapes, null and empty ones among them.
    fn sample() -> BoxedStrategy<Self>;
}

/// Implements `Sample` by a strategy.
macro_rules! sample {
    ($($type:ty => $strategy:expr;)+) => {
        $(
            impl Sample for $type {
                fn sample() -> BoxedStrategy<Self> {
                    $strategy.boxed()
                }
            }
        )+
    };
}

sample! {
    bool => any::<bool>();
    i32 => prop_oneof![any::<i32>(), -2..8];
    i64 => prop_oneof![any::<i64>(), -2i64..8];
    OpCode => any::<i32>().prop_map(OpCode);
    ErrorCode => any::<i32>().prop_map(ErrorCode);
    Text => prop_oneof![".{0,12}", "(/[a-z]{1,4}){1,4}"].prop_map(Text::from);
    Bytes => vec(any::<u8>(), 0..24).prop_map(Bytes::from);
    Option<bool> => any::<Option<bool>>();
    Option<Text> => option::of(Text::sample());
    Option<Bytes> => option::of(Bytes::sample());
}

impl<T: Sample + 'static> Sample for Vec<T> {
    fn sample() -> BoxedStrategy<Self> {
        vec(T::sample(), 0..4).boxed()
    }
}

impl<T: Sample + Clone + 'static> Sample for Option<Vec<T>> {
    fn sample() -> BoxedStrategy<Self> {
        option::of(Vec::<T>::sample()).boxed()
    }
}

/// A create with a path and an ACL, and with flags out of a range.
fn create(flags: std::ops::RangeInclusive<i32>) -> impl Strategy<Value = Create> {
    (Create::sample(), Text::sample(), Vec::sample(), flags).prop_map(
        |(create, path, acl, flags)| Create {
            path: Some(path),
            acl: Some(acl),
            flags,
            ..create
        },
    )
}

/// Anything that decoding a multi can give.
impl Sample for MultiOp {
    fn sample() -> BoxedStrategy<Self> {
        let path = || Text::sample().prop_map(Some);
        let with_ttl =
            (CreateTtl::sample(), path(), 5..=6).prop_map(|(create, path, flags)| CreateTtl {
                path,
                flags,
                ..create
            });
        let came_as_ttl =
            (Create::sample(), path(), prop_oneof![7.., ..0]).prop_map(|(create, path, flags)| {
                Create {
                    path,
                    flags,
                    ..create
                }
            });
        prop_oneof![
            create(0..=3).prop_map(Self::Create),
            came_as_ttl.prop_map(Self::Create),
            create(0..=3).prop_map(Self::Create2),
            create(0..=4).prop_map(Self::CreateContainer),
            create(4..=4).prop_map(|op| Self::CreateContainer(Create { acl: None, ..op })),
            with_ttl.prop_map(Self::CreateTtl),
            (Delete::sample(), path()).prop_map(|(op, path)| Self::Delete(Delete { path, ..op })),
            (SetData::sample(), path())
                .prop_map(|(op, path)| Self::SetData(SetData { path, ..op })),
            (Check::sample(), path()).prop_map(|(op, path)| Self::Check(Check { path, ..op })),
        ]
        .boxed()
    }
}

impl Sample for MultiReadOp {
    fn sample() -> BoxedStrategy<Self> {
        let path = || Text::sample().prop_map(Some);
        prop_oneof![
            (GetChildren::sample(), path())
                .prop_map(|(op, path)| Self::GetChildren(GetChildren { path, ..op })),
            (GetData::sample(), path())
                .prop_map(|(op, path)| Self::GetData(GetData { path, ..op })),
        ]
        .boxed()
    }
}

impl Sample for MultiResult {
    fn sample() -> BoxedStrategy<Self> {
        prop_oneof![
            Option::<Text>::sample().prop_map(|path| Self::Create { path }),
            (Option::<Text>::sample(), Stat::sample())
                .prop_map(|(path, stat)| Self::Create2 { path, stat }),
            Just(Self::Delete),
            Stat::sample().prop_map(|stat| Self::SetData { stat }),
            Just(Self::Check),
            GetChildrenResponse::sample().prop_map(|response| Self::GetChildren {
                children: response.children
            }),
            (Option::<Bytes>::sample(), Stat::sample())
                .prop_map(|(data, stat)| Self::GetData { data, stat }),
            ErrorCode::sample().prop_map(Self::Error),
        ]
        .boxed()
    }
}

sample! {
    Multi => Vec::sample().prop_map(|ops| Multi { ops });
    MultiRead => Vec::sample().prop_map(|ops| MultiRead { ops });
    MultiResponse => Vec::sample().prop_map(|results| MultiResponse { results });
}
