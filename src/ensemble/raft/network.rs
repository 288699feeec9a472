//! The network between servers: not built yet. Everything is refused, clearly.
//!
//! With one voter openraft never asks for a peer; `Config::validate` refuses several.

use std::future::Future;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Snapshot};

use crate::state::ServerId;
use crate::storage::Checkpoint;

use super::types::{CommittedLeaderId, Types, Vote};

/// Makes peers that nobody can reach.
#[derive(Clone, Copy, Debug)]
pub(in crate::ensemble) struct NoPeers;

/// A server that cannot be reached.
#[derive(Clone, Copy, Debug)]
pub(in crate::ensemble) struct NoPeer {
    server: ServerId,
}

#[derive(Debug, thiserror::Error)]
#[error("server {server} cannot be reached: the network between servers is not built yet")]
struct NotBuilt {
    server: ServerId,
}

impl NoPeer {
    fn unreachable(self) -> Unreachable<Types> {
        Unreachable::new(&NotBuilt {
            server: self.server,
        })
    }
}

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = NoPeer;

    async fn new_client(&mut self, target: u64, (): &()) -> NoPeer {
        NoPeer {
            server: ServerId(target),
        }
    }
}

impl RaftNetworkV2<Types> for NoPeer {
    type SnapshotData = Checkpoint;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    /// openraft's own version grants.
    async fn pre_vote(
        &mut self,
        _: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _: Vote,
        _: Snapshot<CommittedLeaderId, u64, (), Checkpoint>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(self.unreachable().into())
    }
}
