//! Who sent a request, for the ledger.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::serve::IncomingStream;
use http::request::Parts;

use crate::ledger::event::Asker;
use crate::listener::LateEndListener;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Client(SocketAddr);

impl Connected<IncomingStream<'_, LateEndListener>> for Client {
    fn connect_info(stream: IncomingStream<'_, LateEndListener>) -> Self {
        let address = stream.remote_addr();
        // A listener on [::] sees IPv4 clients in a form of IPv6; they are told as they are.
        Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

/// The client, as one who asks for something; none where the router serves no socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller(pub(super) Option<Asker>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let client = parts.extensions.get::<ConnectInfo<Client>>();
        let asker = |ConnectInfo(Client(address)): &_| Asker::Client(*address);
        Ok(Self(client.map(asker)))
    }
}
