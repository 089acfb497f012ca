//! Which daemons a command is for.

use std::net::SocketAddr;

use http::Uri;
use sha2::{Digest, Sha256};

use super::Failure;
use crate::client::address_of;

/// The variable with the URLs, where no flag has them.
const VARIABLE: &str = "MOCKSERVER_URL";
/// The admin listener of this machine.
const DEFAULT: &str = "http://127.0.0.1:8889";

/// One daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Its URL without a path.
    pub(super) url: String,
}

/// A share from above 0 to 1.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    share
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or_else(|| "must be above 0 and at most 1".to_owned())
}

/// The daemons at `urls`, or else those of the variable, or else the one on this machine; of them only the share that is
/// asked for, with its seed.
pub(super) async fn find(
    urls: Vec<String>,
    share: Option<(f64, u64)>,
) -> Result<Vec<Target>, Failure> {
    let urls = match urls.is_empty() {
        true => from_variable(),
        false => urls,
    };
    let mut targets = Vec::new();
    for url in urls {
        for target in resolve(&url).await? {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    if let Some((share, seed)) = share {
        targets = part_of(targets, share, seed);
    }
    Ok(targets)
}

fn from_variable() -> Vec<String> {
    let given = std::env::var(VARIABLE).unwrap_or_default();
    let urls = given
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty());
    let mut urls: Vec<String> = urls.map(str::to_owned).collect();
    if urls.is_empty() {
        urls.push(DEFAULT.to_owned());
    }
    urls
}

/// One target for each address of the host: a headless service's name has one for each of its pods.
async fn resolve(url: &str) -> Result<Vec<Target>, Failure> {
    let uri: Option<Uri> = url.parse().ok();
    let plain = uri.filter(|uri| matches!(uri.path(), "" | "/") && uri.query().is_none());
    let Some(address) = plain.as_ref().and_then(address_of) else {
        let rule = "is not a URL of the form http://host:port";
        return Err(Failure::Usage(format!("{url:?} {rule}")));
    };
    let found = tokio::net::lookup_host(&address).await;
    let found = found.map_err(|error| Failure::Other(format!("{address}: {error}")))?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    // A host that has both kinds of addresses has two for itself.
    if addresses.iter().any(SocketAddr::is_ipv4) {
        addresses.retain(SocketAddr::is_ipv4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    let target = |address: &SocketAddr| Target {
        url: format!("http://{address}"),
    };
    match addresses.as_slice() {
        // Its name says more than its address.
        [_] => Ok(vec![Target {
            url: format!("http://{address}"),
        }]),
        many => Ok(many.iter().map(target).collect()),
    }
}

/// The share of `targets` that come first by a hash of the seed and their URL, so that each call chooses the same ones; at
/// least one.
fn part_of(mut targets: Vec<Target>, share: f64, seed: u64) -> Vec<Target> {
    let count = (targets.len() as f64 * share).ceil() as usize;
    targets.sort_by_cached_key(|target| {
        let hash = Sha256::new().chain_update(seed.to_be_bytes());
        hash.chain_update(&target.url).finalize().to_vec()
    });
    targets.truncate(count.max(1));
    targets.sort_by(|a, b| a.url.cmp(&b.url));
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(count: u8) -> Vec<Target> {
        let target = |n| Target {
            url: format!("http://10.0.0.{n}:8889"),
        };
        (0..count).map(target).collect()
    }

    #[test]
    fn a_share_is_the_same_part_each_time_and_another_with_another_seed() {
        let all = targets(100);
        let part = part_of(all.clone(), 0.1, 7);
        assert_eq!(part.len(), 10);
        let mut reversed = all.clone();
        reversed.reverse();
        assert_eq!(part_of(reversed, 0.1, 7), part);
        assert_ne!(part_of(all, 0.1, 8), part);
    }

    #[test]
    fn a_share_is_never_nothing() {
        assert_eq!(part_of(targets(3), 0.01, 0).len(), 1);
        assert_eq!(part_of(targets(0), 1.0, 0), []);
        for bad in ["0", "1.1", "-1", "x", "NaN"] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_host_with_both_kinds_of_addresses_is_one_target() {
        let found = resolve("http://localhost:8889/")
            .await
            .expect("it resolves");
        let expected = Target {
            url: "http://localhost:8889".to_owned(),
        };
        assert_eq!(found, [expected]);
    }

    #[tokio::test]
    async fn what_is_no_url_of_a_listener_is_refused() {
        for url in [
            "localhost:8889",
            "https://a:1",
            "http://a/api",
            "http://a:1/?x",
            "",
        ] {
            let refused = resolve(url).await;
            assert!(matches!(refused, Err(Failure::Usage(_))), "{url}");
        }
    }
}
