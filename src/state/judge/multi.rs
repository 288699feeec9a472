//! multi: several writes, all or none, as one txn.

use jute::{ErrorCode, Multi, MultiOp};

use super::judge::{Judge, Stop};
use super::new_znode::{Form, NewZnode};
use crate::state::txn::{OpOutcome, Outcome};

impl Judge<'_> {
    /// Judges the ops in order, each on top of those before it. The first that is refused undoes
    /// all: its code stands at its place, 0 before it, -2 behind it.
    ///
    /// zk: PrepRequestProcessor.pRequestHelper, multi. Where an op makes it fail with something
    /// else than a refusal (a null within an ACL), the whole multi is answered with -5. One whose
    /// session has moved is not answered at all: FinalRequestProcessor.
    pub(in crate::state) fn multi(&mut self, multi: &Multi) -> Result<Outcome, Stop> {
        self.work.start_multi();
        let mut outcomes = Vec::with_capacity(multi.ops.len());
        self.work.expect_ops(multi.ops.len());
        for op in &multi.ops {
            match self.op(op) {
                Ok(outcome) => outcomes.push(outcome),
                Err(Stop::Refused(code)) if !refuses_all(code) => {
                    self.work.undo_multi();
                    let failed = outcomes.len();
                    let codes = refusals(multi.ops.len(), failed, code);
                    return Ok(Outcome::MultiRefused(codes));
                }
                Err(stop) => {
                    self.work.undo_multi();
                    return Err(stop);
                }
            }
        }
        self.work.keep_multi();
        Ok(Outcome::Multi(outcomes))
    }

    fn op(&mut self, op: &MultiOp) -> Result<OpOutcome, Stop> {
        Ok(match op {
            MultiOp::Create(create) => self.create_plain(create)?,
            MultiOp::Create2(create) => {
                self.create_with_stat(NewZnode::plain(Form::Plain, create))?
            }
            MultiOp::CreateContainer(create) => {
                self.create_with_stat(NewZnode::plain(Form::Container, create))?
            }
            MultiOp::CreateTtl(create) => self.create_with_stat(NewZnode::ttl(create))?,
            MultiOp::Delete(delete) => {
                self.delete(delete)?;
                OpOutcome::Deleted
            }
            MultiOp::SetData(set_data) => OpOutcome::Stat(self.set_data(set_data)?),
            MultiOp::Check(check) => {
                self.check(check)?;
                OpOutcome::Checked
            }
        })
    }
}

/// Whether the multi has no results if one of its ops is refused so.
fn refuses_all(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::MARSHALLING_ERROR | ErrorCode::SESSION_MOVED
    )
}

/// The codes of a multi of `len` ops whose op `failed` was refused.
fn refusals(len: usize, failed: usize, code: ErrorCode) -> Vec<ErrorCode> {
    let of = |index: usize| match index.cmp(&failed) {
        std::cmp::Ordering::Less => ErrorCode::OK,
        std::cmp::Ordering::Equal => code,
        std::cmp::Ordering::Greater => ErrorCode::RUNTIME_INCONSISTENCY,
    };
    (0..len).map(of).collect()
}
