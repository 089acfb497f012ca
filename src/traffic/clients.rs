//! Who asks: the kinds of clients that a public service sees.

/// What a client says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientKind {
    pub(super) user_agent: &'static str,
    pub(super) accept: &'static str,
}

/// What browsers accept of an API.
const ANYTHING: &str = "application/json, text/plain, */*";

const fn client(user_agent: &'static str, accept: &'static str) -> ClientKind {
    ClientKind { user_agent, accept }
}

/// Browsers on computers and phones, apps, and other services.
pub(super) const CLIENTS: &[ClientKind] = &[
    client(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        ANYTHING,
    ),
    client(
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
        ANYTHING,
    ),
    client(
        "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
        ANYTHING,
    ),
    client(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        ANYTHING,
    ),
    client(
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
        ANYTHING,
    ),
    client("okhttp/4.12.0", "application/json"),
    client("axios/1.7.7", ANYTHING),
    client("python-requests/2.32.3", "*/*"),
    client("Go-http-client/1.1", "*/*"),
];

/// An orchestrator's.
pub(super) const KUBELET: ClientKind = client("kube-probe/1.31", "*/*");
